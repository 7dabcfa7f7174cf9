"""The presets that `alae init` starts from: by their widths for CPUs or for GPUs, the first that fits being the usual choice."""

CPU = (
    "cartoon32_style_alae",
    "cartoon32_stylegan",
    "cartoon32_intro_vae",
    "cartoon64_intro_vae",
    "cartoon32_soft_intro_vae",
    "cartoon64_soft_intro_vae",
    "cartoon64_style_soft_intro_vae",
    "mnist32_alae",
    "emoji_noto2twemoji64_munit",
    "emoji_noto2twemoji64_nice_gan",
)
GPU = (
    "celebahq256_style_alae",
    "ffhq1024_style_alae",
    "celeba128_style_alae",
    "ffhq1024_stylegan_f",
    "celebahq128_intro_vae",
    "celebahq256_intro_vae",
    "celebahq1024_intro_vae",
    "celebahq256_soft_intro_vae",
    "celebahq256_style_soft_intro_vae",
    "mnist32_alae",
    "summer2winter256_munit",
    "cat2dog256_nice_gan",
)
