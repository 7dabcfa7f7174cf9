"""Presets of StyleALAE (Pidhorskyi et al. 2020, section 5.2): its official runs for 8 GPUs, and small ones for CPUs.

`_official` holds the settings that the official runs share.
"""

from alae_core.algorithms.alae import LossConfig
from alae_core.algorithms.style_alae import Config
from alae_core.schedule import ProgressiveSchedule
from pipelines.experiment import DataConfig, EvaluationConfig, Experiment, ScalingConfig, TrainingConfig

TWO_CPUS = ScalingConfig(workers=2, cpus_per_worker=0.5, cpus_per_data_task=0.5, cpus_per_evaluation=0.25)
EIGHT_GPUS = ScalingConfig(workers=8, gpus_per_worker=1.0)


def _official(
    name: str,
    algorithm: Config,
    data: DataConfig,
    *,
    fade_kimg: float,
    last_kimg: float,
    lr: tuple[float, ...] = (0.0015,),
    batch_size: tuple[int, ...] = (512, 256, 128, 64, 32),
    evaluation: EvaluationConfig,
) -> Experiment:
    """Settings of the official runs: grown from 4x4, half of each level fades, and the last continues for `last_kimg`."""
    resolutions = tuple(2**power for power in range(2, algorithm.resolution.bit_length()))
    return Experiment(
        name=name,
        algorithm=algorithm,
        schedule=ProgressiveSchedule(
            resolutions=resolutions,
            stable_kimg=(2 * fade_kimg, *(fade_kimg,) * (len(resolutions) - 2), last_kimg),
            fade_kimg=(fade_kimg,),
            batch_size=batch_size,
            lr=lr,
        ),
        data=data,
        training=TrainingConfig(
            microbatch=tuple(batch // 8 for batch in batch_size), tick_kimg=10.0, keep_checkpoints=20
        ),
        evaluation=evaluation,
        scaling=EIGHT_GPUS,
    )


def ffhq1024_style_alae() -> Experiment:
    """StyleALAE on FFHQ at 1024x1024, by the official code's tables for 8 GPUs.

    Command:   alae train ffhq1024_style_alae
               after: alae pack FOLDER data/ffhq1024 --resolution 1024 --validation 0.142857  (60,000 of 70,000 to train on)
               on one GPU: scaling.workers=1; the batch stays the same and is accumulated from the same parts
               on 8 GPUs of 16 GB, as the official code advises: schedule.batch_size=512,256,128,64,32,32,32,32,24
               training.microbatch=64,32,16,8,4,4,4,4,3
    Expected:  the paper, from memory and not confirmed [M]: FID 13.09 of samples, 16.52 of reconstructions; path length
               in W 134.5 (full), 103.4 (end). Not yet measured here
    Cost:      18 million images. The authors: 2 days to 512 and 2 more at 1024, on 8 Titan RTX
               [C: github.com/podgorskiy/ALAE/issues/60]
    Status:    not yet run at full size

    16 epochs of 60,000 images per level, half of them in the fade; 300 epochs in total.
    """
    return _official(
        "ffhq1024_style_alae",
        Config(resolution=1024, latent=512, base_channels=16, max_channels=512),
        DataConfig(path="data/ffhq1024", flip=True, window_images=1024, read_ahead_gib=6.0),
        fade_kimg=480.0,
        last_kimg=9840.0,
        lr=(*(0.0015,) * 6, 0.002, 0.003),
        evaluation=EvaluationConfig(every_checkpoints=10, extractor="pixels"),
    )


def celebahq256_style_alae() -> Experiment:
    """StyleALAE on CelebA-HQ at 256x256, by the official code's tables for 8 GPUs.

    Command:   alae train celebahq256_style_alae
               after: alae pack FOLDER data/celebahq256 --resolution 256 --validation 0.0333333  (29,000 of 30,000 to train on)
               on one GPU: scaling.workers=1; the batch stays the same and is accumulated from the same parts
    Expected:  the paper, from memory and not confirmed [M]: FID 19.21, path length (full) 33.29. Not yet measured here
    Cost:      not yet measured; 8.1 million images
    Status:    not yet run at full size

    30 epochs of 29,000 images per level, half of them in the fade; 280 epochs in total.
    """
    return _official(
        "celebahq256_style_alae",
        Config(resolution=256, latent=512, base_channels=64, max_channels=512),
        DataConfig(path="data/celebahq256", flip=True),
        fade_kimg=435.0,
        last_kimg=2465.0,
        evaluation=EvaluationConfig(every_checkpoints=10, extractor="pixels"),
    )


def bedroom256_style_alae() -> Experiment:
    """StyleALAE on LSUN bedrooms at 256x256, by the official code's tables for 8 GPUs.

    Command:   alae train bedroom256_style_alae
               after: alae pack FOLDER data/bedroom256 --resolution 256  (a folder of 758,260 bedrooms, a quarter of LSUN's)
               on one GPU: scaling.workers=1; the batch stays the same and is accumulated from the same parts
    Expected:  the paper, from memory and not confirmed [M]: FID 17.13 of samples, 15.92 of reconstructions. Not yet
               measured here
    Cost:      not yet measured; 84.9 million images
    Status:    not yet run at full size

    2 epochs of 758,260 images per level, one of them in the fade; 112 epochs in total.
    """
    return _official(
        "bedroom256_style_alae",
        Config(resolution=256, latent=512, base_channels=32, max_channels=512),
        DataConfig(path="data/bedroom256", flip=True),
        fade_kimg=758.26,
        last_kimg=75067.74,
        lr=(*(0.0015,) * 6, 0.002),
        evaluation=EvaluationConfig(every_checkpoints=50, extractor="pixels"),
    )


def mnist32_style_alae_paper() -> Experiment:
    """StyleALAE on MNIST at 32x32 at the official code's full width and length; mnist32_style_alae is the small demo.

    Command:   alae train mnist32_style_alae_paper
               after: alae pack mnist.npz data/mnist32_60k --resolution 32 --square pad  (60,000 digits of 28x28, padded)
               on one GPU: scaling.workers=1; the batch stays the same and is accumulated from the same parts
    Expected:  the paper reports no figure that we know of. Not yet measured here
    Cost:      not yet measured; 3.6 million images
    Status:    not yet run at full size

    10 epochs of 60,000 images per level, half of them in the fade; 60 epochs in total.
    """
    return _official(
        "mnist32_style_alae_paper",
        Config(resolution=32, channels=1, latent=32, base_channels=64, max_channels=256, mapping_layers=4),
        DataConfig(path="data/mnist32_60k"),
        fade_kimg=300.0,
        last_kimg=1500.0,
        batch_size=(128, 128, 128, 64),
        evaluation=EvaluationConfig(every_checkpoints=2),
    )


def _celeba128(
    name: str,
    algorithm: Config,
    *,
    last_kimg: float,
) -> Experiment:
    return _official(
        name,
        algorithm,
        DataConfig(path="data/celeba128", flip=True),
        fade_kimg=547.911,
        last_kimg=last_kimg,
        evaluation=EvaluationConfig(every_checkpoints=10, extractor="pixels"),
    )


def celeba128_style_alae() -> Experiment:
    """StyleALAE on CelebA at 128x128, by the official code's tables for 8 GPUs.

    Command:   alae train celeba128_style_alae
               after: alae pack FOLDER data/celeba128 --resolution 128  (the official code first crops each image to rows 60
               to 187 and columns 25 to 152, and trains on train and validation: 182,637 images)
               on one GPU: scaling.workers=1; the batch stays the same and is accumulated from the same parts
    Expected:  the paper reports no figure that we know of. Not yet measured here
    Cost:      not yet measured; 14.6 million images
    Status:    not yet run at full size

    6 epochs of 182,637 images per level, half of them in the fade; 80 epochs in total.
    """
    algorithm = Config(resolution=128, latent=256, base_channels=64, max_channels=256)
    return _celeba128("celeba128_style_alae", algorithm, last_kimg=8583.939)


def celeba128_style_alae_nostyle() -> Experiment:
    """Ablation of StyleALAE on CelebA at 128x128: no style encoder.

    The encoder is a plain convolutional network without instance statistics and normalisation.

    Command:   alae train celeba128_style_alae_nostyle
               after packing as for celeba128_style_alae
    Expected:  unreported. Not yet measured here
    Cost:      not yet measured; 12.2 million images
    Status:    not yet run at full size

    As celeba128_style_alae, for 67 epochs.
    """
    algorithm = Config(resolution=128, latent=256, base_channels=64, max_channels=256, encoder="plain")
    return _celeba128("celeba128_style_alae_nostyle", algorithm, last_kimg=6209.658)


def celeba128_style_alae_separate() -> Experiment:
    """Ablation of StyleALAE on CelebA at 128x128: separate encoder and discriminator.

    StyleGAN's discriminator judges images; the encoder learns from the latent reconstruction only; F's learning rate is
    0.01 of the others', as in the official code's ablation.

    Command:   alae train celeba128_style_alae_separate
               after packing as for celeba128_style_alae
    Expected:  unreported. Not yet measured here
    Cost:      not yet measured; 12.2 million images
    Status:    not yet run at full size

    As celeba128_style_alae, for 67 epochs.
    """
    algorithm = Config(
        resolution=128,
        latent=256,
        base_channels=64,
        max_channels=256,
        discriminator="image",
        mapping_lr_multiplier=0.01,
    )
    return _celeba128("celeba128_style_alae_separate", algorithm, last_kimg=6209.658)


def celeba128_style_alae_z() -> Experiment:
    """Ablation of StyleALAE on CelebA at 128x128: regression in Z.

    The encoder predicts z instead of w; a reconstruction is G(F(E(x))).

    Command:   alae train celeba128_style_alae_z
               after packing as for celeba128_style_alae
    Expected:  unreported. Not yet measured here
    Cost:      not yet measured; 12.2 million images
    Status:    not yet run at full size

    As celeba128_style_alae, for 67 epochs.
    """
    algorithm = Config(resolution=128, latent=256, base_channels=64, max_channels=256, reciprocity="z")
    return _celeba128("celeba128_style_alae_z", algorithm, last_kimg=6209.658)


def cartoon32_style_alae() -> Experiment:
    """StyleALAE on drawn faces at 32x32, grown from 4x4 at reduced width, on CPUs.

    Command:   alae train cartoon32_style_alae
               after: alae pack FOLDER data/cartoon32 --resolution 32 --validation 0.1
               or in one process, from a Parquet file: python benchmarks/cartoon_faces.py --preset cartoon32_style_alae
    Expected:  benchmarks/cartoon32_cpu2_2026-11-22.md
    Cost:      150 thousand images
    Status:    run in the plain loop, not to its end; not yet run by the command

    Widths, learning rates and lengths suit CPUs.
    """
    return Experiment(
        name="cartoon32_style_alae",
        algorithm=Config(
            resolution=32,
            channels=3,
            latent=96,
            base_channels=24,
            max_channels=96,
            mapping_layers=4,
            rgb_gain=0.3,
            loss=LossConfig(r1_gamma=1.0, r1_every=8),
        ),
        schedule=ProgressiveSchedule(
            resolutions=(4, 8, 16, 32),
            stable_kimg=(10.0, 20.0, 30.0, 45.0),
            fade_kimg=(0.0, 10.0, 15.0, 20.0),
            batch_size=(32,),
            lr=(0.002,),
        ),
        data=DataConfig(path="data/cartoon32"),
        training=TrainingConfig(ema_half_life_kimg=3.0, tick_kimg=1.0, checkpoint_ticks=10, compile=True),
        evaluation=EvaluationConfig(samples=5000, extractor="pixels"),
        scaling=TWO_CPUS,
    )


def mnist32_style_alae() -> Experiment:
    """StyleALAE on MNIST at 32x32, grown from 4x4 on two CPU workers: the demo.

    Command:   alae train mnist32_style_alae
               after: alae pack mnist5k data/mnist32 --resolution 32 --square pad --validation 0.1
    Expected:  recognisable digits, distance near 48 (benchmarks/mnist32_style_alae_cpu2_2026-11-22.md)
    Cost:      22.6 thousand images
    Status:    run

    Widths are reduced; learning rates and lengths suit minutes of CPU time.
    """
    return Experiment(
        name="mnist32_style_alae",
        algorithm=Config(
            resolution=32,
            channels=1,
            latent=64,
            base_channels=16,
            max_channels=64,
            mapping_layers=4,
            rgb_gain=0.3,
            loss=LossConfig(r1_every=8),
        ),
        schedule=ProgressiveSchedule(
            resolutions=(4, 8, 16, 32),
            stable_kimg=(2.0, 4.0, 6.0, 4.5),
            fade_kimg=(0.0, 1.5, 2.0, 2.5),
            batch_size=(64, 32, 16, 16),
            lr=(0.003,),
        ),
        data=DataConfig(path="data/mnist32"),
        training=TrainingConfig(ema_half_life_kimg=1.0, tick_kimg=1.0, checkpoint_ticks=8, keep_checkpoints=3),
        evaluation=EvaluationConfig(samples=5000, reconstructions=500),
        scaling=TWO_CPUS,
    )
