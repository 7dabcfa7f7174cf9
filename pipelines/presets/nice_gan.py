"""Presets of NICE-GAN (Chen et al. 2020): translation between two domains of images.

`cat2dog256_nice_gan` is the official configuration; the other 256x256 presets differ only in the data.
"""

from dataclasses import replace

from alae_core.algorithms.nice_gan import Config
from alae_core.optim import AdamConfig
from alae_core.schedule import ProgressiveSchedule
from pipelines.experiment import DataConfig, EvaluationConfig, Experiment, ScalingConfig, TrainingConfig
from pipelines.presets.munit import emoji_noto2twemoji64_munit


def cat2dog256_nice_gan() -> Experiment:
    """NICE-GAN on cats and dogs, at 256x256.

    Command:   alae train cat2dog256_nice_gan
               after: alae pack FOLDER data/cat2dog256 --domains folders --resolution 256
    Expected:  the paper's FID, KID x 100 [P]: cat to dog 44.67, 1.20; dog to cat 48.79, 1.58. Not yet measured here
    Cost:      not yet measured; 300 thousand images of each domain. Users of the official code: 80,000 s for 100,000
               iterations on a 2080 Ti
    Status:    not yet run at full size

    The official script [C] in its light form: 300,000 iterations of one image of each domain; the learning rate decreases
    linearly over the second half. The paper's values are those at 100 thousand images, before the decrease.
    """
    return Experiment(
        name="cat2dog256_nice_gan",
        algorithm=Config(resolution=256),
        schedule=ProgressiveSchedule(
            resolutions=(256,), stable_kimg=(300.0,), batch_size=(1,), lr=(0.0001,), lr_falls_from_kimg=150.0
        ),
        data=DataConfig(path="data/cat2dog256", flip=True, enlarge=286 / 256),
        training=TrainingConfig(
            optimizer=AdamConfig(beta1=0.5, beta2=0.999, weight_decay=1e-4), tick_kimg=1.0, keep_checkpoints=10
        ),
        evaluation=EvaluationConfig(samples=100, extractor="pixels"),
        scaling=ScalingConfig(workers=1, gpus_per_worker=1.0),
    )


def _cats_on(name: str, path: str) -> Experiment:
    cats = cat2dog256_nice_gan()
    return replace(cats, name=name, data=replace(cats.data, path=path))


def horse2zebra256_nice_gan() -> Experiment:
    """NICE-GAN on horses and zebras, at 256x256: cat2dog256_nice_gan on other data.

    Command:   alae train horse2zebra256_nice_gan
               after: alae pack FOLDER data/horse2zebra256 --domains folders --resolution 256
    Expected:  the paper's FID, KID x 100, from memory and not confirmed [R]: to zebra 65.93, 2.09; to horse 149.48,
               4.29. Not yet measured here
    Cost:      as cat2dog256_nice_gan
    Status:    not yet run at full size
    """
    return _cats_on("horse2zebra256_nice_gan", "data/horse2zebra256")


def summer2winter256_nice_gan() -> Experiment:
    """NICE-GAN on summer and winter in Yosemite, at 256x256: cat2dog256_nice_gan on other data.

    Command:   alae train summer2winter256_nice_gan
               after: alae pack FOLDER data/summer2winter256 --domains folders --resolution 256
    Expected:  the paper's FID, KID x 100, from memory and not confirmed [R]: to winter 76.03, 0.67; to summer 76.44,
               1.22. Not yet measured here
    Cost:      as cat2dog256_nice_gan
    Status:    not yet run at full size
    """
    return _cats_on("summer2winter256_nice_gan", "data/summer2winter256")


def vangogh2photo256_nice_gan() -> Experiment:
    """NICE-GAN on paintings by van Gogh and photographs, at 256x256: cat2dog256_nice_gan on other data.

    Command:   alae train vangogh2photo256_nice_gan
               after: alae pack FOLDER data/vangogh2photo256 --domains folders --resolution 256
    Expected:  the paper's FID, KID x 100, from memory and not confirmed [R]: to photograph 112.00, 2.79; to painting
               122.27, 3.71. Not yet measured here
    Cost:      as cat2dog256_nice_gan
    Status:    not yet run at full size
    """
    return _cats_on("vangogh2photo256_nice_gan", "data/vangogh2photo256")


def emoji_noto2twemoji64_nice_gan() -> Experiment:
    """NICE-GAN between two styles of the same emoji, Noto and Twemoji, at 64x64 and three eighths of the width.

    Command:   alae train emoji_noto2twemoji64_nice_gan
               after: alae pack NOTO data/emoji_noto2twemoji64 --second TWEMOJI --resolution 64 --validation 0.1
               the whole width, for a GPU: algorithm.base_channels=64 scaling.gpus_per_worker=1
    Expected:  to Noto and to Twemoji: kernel distance x 1000 on Lite0 192.2 and 215.4 (the images themselves: 13.7 and
               14.3), paired l1 0.299 and 0.317 (0.341); blurred or speckled
               See benchmarks/emoji64_cpu2_2026-11-22.md
    Cost:      73 minutes of one busy thread; 12 thousand images of each domain
    Status:    run in the plain loop

    The data and schedule of emoji_noto2twemoji64_munit with the light form of NICE-GAN; each emoji is seen about four times.
    """
    algorithm = Config(resolution=64, base_channels=24, residual_blocks=4, discriminator_layers=6)
    return replace(emoji_noto2twemoji64_munit(), name="emoji_noto2twemoji64_nice_gan", algorithm=algorithm)
