"""Presets of StyleGAN (Karras et al. 2019): table 1 from A, ProGAN, to F, the whole method; and the baseline of StyleALAE.

`ffhq1024_stylegan_f` is the whole method; the docstrings of the others name the parts that they leave out.
"""

from dataclasses import replace

from alae_core.algorithms.stylegan import Config, LossConfig
from alae_core.networks.style_generator import Form
from alae_core.schedule import ProgressiveSchedule
from pipelines.experiment import DataConfig, EvaluationConfig, Experiment, ScalingConfig, TrainingConfig
from pipelines.presets.style_alae import cartoon32_style_alae


def ffhq1024_stylegan_f() -> Experiment:
    """StyleGAN on FFHQ at 1024x1024, grown from 8x8: configuration F of its table 1, the whole method.

    Command:   alae train ffhq1024_stylegan_f
               after: alae pack <folder of FFHQ> data/ffhq1024 --resolution 1024
    Expected:  the paper reports FID 4.40 [C: paperswithcode; NVlabs/stylegan README measures 4.4159]
    Cost:      25 million images; StyleGAN's authors: 6 days 14 hours on 8 V100 [C: NVlabs/stylegan README]
    Status:    not yet run at full size

    600 thousand images per fade and per level before the last.
    """
    return Experiment(
        name="ffhq1024_stylegan_f",
        algorithm=Config(resolution=1024),
        schedule=ProgressiveSchedule(
            resolutions=(8, 16, 32, 64, 128, 256, 512, 1024),
            stable_kimg=(600.0, 600.0, 600.0, 600.0, 600.0, 600.0, 600.0, 16_600.0),
            fade_kimg=(600.0,),
            batch_size=(256, 128, 64, 32),
            lr=(0.001, 0.001, 0.001, 0.001, 0.0015, 0.002, 0.003),
            fade="linear",
            clear_moments="phase",
        ),
        # At 1024 px a window is 3 GiB.
        data=DataConfig(path="data/ffhq1024", flip=True, window_images=1024, read_ahead_gib=8.0),
        # A micro-batch is the share of one of 8 ranks; fewer ranks accumulate gradients.
        training=TrainingConfig(
            ema_half_life_kimg=10.0,
            microbatch=(32, 16, 8, 4),
            precision="fp32",
            tick_kimg=20.0,
            checkpoint_ticks=10,
            keep_checkpoints=5,
        ),
        evaluation=EvaluationConfig(samples=50_000, every_checkpoints=5, extractor="pixels"),
        scaling=ScalingConfig(workers=8, gpus_per_worker=1.0),
    )


def ffhq1024_stylegan_e() -> Experiment:
    """StyleGAN without mixing on FFHQ at 1024x1024: configuration E of its table 1, D and noise inputs.

    Command:   alae train ffhq1024_stylegan_e
               after: alae pack <folder of FFHQ> data/ffhq1024 --resolution 1024
    Expected:  the paper reports FID 4.42 [M]: from memory, not confirmed
    Cost:      25 million images; F's time, see ffhq1024_stylegan_f
    Status:    not yet run at full size

    F without style mixing.
    """
    algorithm = Config(resolution=1024, mixing_probability=0.0)
    return replace(ffhq1024_stylegan_f(), name="ffhq1024_stylegan_e", algorithm=algorithm)


def ffhq1024_stylegan_d() -> Experiment:
    """StyleGAN without mixing and noise on FFHQ at 1024x1024: configuration D of its table 1, C and a learned constant input.

    Command:   alae train ffhq1024_stylegan_d
               after: alae pack <folder of FFHQ> data/ffhq1024 --resolution 1024
    Expected:  the paper reports FID 4.88 [M]: from memory, not confirmed
    Cost:      25 million images; F's time, see ffhq1024_stylegan_f
    Status:    not yet run at full size

    F without style mixing and noise.
    """
    algorithm = Config(resolution=1024, mixing_probability=0.0, form=Form(noise=False))
    return replace(ffhq1024_stylegan_f(), name="ffhq1024_stylegan_d", algorithm=algorithm)


def ffhq1024_stylegan_c() -> Experiment:
    """StyleGAN with a dense input on FFHQ at 1024x1024: configuration C of its table 1, B and mapping and styles.

    Command:   alae train ffhq1024_stylegan_c
               after: alae pack <folder of FFHQ> data/ffhq1024 --resolution 1024
    Expected:  the paper reports FID 4.85 [M]: from memory, not confirmed
    Cost:      25 million images; F's time, see ffhq1024_stylegan_f
    Status:    not yet run at full size

    F without style mixing and noise; a dense layer turns the code into the 4x4 features.
    """
    form = Form(noise=False, constant_input=False)
    algorithm = Config(resolution=1024, mixing_probability=0.0, form=form)
    return replace(ffhq1024_stylegan_f(), name="ffhq1024_stylegan_c", algorithm=algorithm)


def ffhq1024_stylegan_b() -> Experiment:
    """ProGAN, tuned, on FFHQ at 1024x1024: configuration B of StyleGAN's table 1, A with blur, R1 and twice the length.

    Command:   alae train ffhq1024_stylegan_b
               after: alae pack <folder of FFHQ> data/ffhq1024 --resolution 1024
    Expected:  the paper reports FID 5.25 [M]: from memory, not confirmed
    Cost:      25 million images; F's time, see ffhq1024_stylegan_f
    Status:    not yet run at full size

    F without mapping, styles and noise: a dense layer turns the normalised latent into 4x4 features; pixel norm.
    """
    form = Form(styles=False, noise=False, constant_input=False)
    algorithm = Config(resolution=1024, mapping_layers=0, mixing_probability=0.0, form=form)
    return replace(ffhq1024_stylegan_f(), name="ffhq1024_stylegan_b", algorithm=algorithm)


def ffhq1024_stylegan_a() -> Experiment:
    """ProGAN on FFHQ at 1024x1024: configuration A of StyleGAN's table 1, the baseline. Grown from 8x8 as the others, not 4x4.

    Command:   alae train ffhq1024_stylegan_a
               after: alae pack <folder of FFHQ> data/ffhq1024 --resolution 1024
    Expected:  the paper reports FID 8.04 [C: royalroad.pages.dev/papers/karrasStyleGAN2019]
    Cost:      12 million images, about half of F's time, see ffhq1024_stylegan_f
    Status:    not yet run at full size

    WGAN-GP with ProGAN's networks: nearest-neighbour upsampling, pixel norm, no mapping, styles and noise.
    """
    full = ffhq1024_stylegan_f()
    form = Form(blur=False, styles=False, noise=False, constant_input=False)
    loss = LossConfig(adversarial="wgan_gp")
    return replace(
        full,
        name="ffhq1024_stylegan_a",
        algorithm=Config(resolution=1024, mapping_layers=0, mixing_probability=0.0, form=form, loss=loss),
        schedule=replace(full.schedule, stable_kimg=(*full.schedule.stable_kimg[:-1], 3_600.0)),
    )


def celebahq1024_stylegan_wgan() -> Experiment:
    """StyleGAN with WGAN-GP on CelebA-HQ at 1024x1024: configuration F of its table 1, as trained there.

    Command:   alae train celebahq1024_stylegan_wgan
               after: alae pack <folder of CelebA-HQ> data/celebahq1024 --resolution 1024
    Expected:  the paper reports FID 5.17 [C: wizwand.com]
    Cost:      12 million images, about half of the time of ffhq1024_stylegan_f
    Status:    not yet run at full size

    The whole method at the baseline's loss and length; the learning rate stays at 0.002 from 256 px on.
    """
    baseline = ffhq1024_stylegan_a()
    return replace(
        baseline,
        name="celebahq1024_stylegan_wgan",
        algorithm=Config(resolution=1024, loss=LossConfig(adversarial="wgan_gp")),
        schedule=replace(baseline.schedule, lr=tuple(min(lr, 0.002) for lr in baseline.schedule.lr)),
        data=replace(baseline.data, path="data/celebahq1024"),
    )


def cartoon32_stylegan() -> Experiment:
    """StyleGAN on drawn faces at 32x32: the baseline of cartoon32_style_alae, with its widths, schedule and images.

    Command:   alae train cartoon32_stylegan
               after: alae pack FOLDER data/cartoon32 --resolution 32 --validation 0.1
               or in one process, from a Parquet file: python benchmarks/cartoon_faces.py --preset cartoon32_stylegan
    Expected:  benchmarks/cartoon32_cpu2_2026-11-22.md
    Cost:      150 thousand images; 29 minutes of CPU time there
    Status:    run in the plain loop; not yet run by the command

    StyleGAN in place of StyleALAE; all other settings are the same.
    """
    algorithm = Config(
        resolution=32,
        channels=3,
        latent=96,
        base_channels=24,
        max_channels=96,
        mapping_layers=4,
        loss=LossConfig(r1_gamma=1.0, r1_every=8),
    )
    return replace(cartoon32_style_alae(), name="cartoon32_stylegan", algorithm=algorithm)
