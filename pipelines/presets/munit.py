"""Presets of MUNIT (Huang et al. 2018): translation between two domains of images.

`edges2shoes256_munit` is the official configuration; the docstrings of the other 256x256 presets name the differences.
"""

from dataclasses import replace

from alae_core.algorithms.munit import Config, LossConfig
from alae_core.optim import AdamConfig
from alae_core.schedule import ProgressiveSchedule
from pipelines.experiment import DataConfig, EvaluationConfig, Experiment, ScalingConfig, TrainingConfig

ADAM = AdamConfig(beta1=0.5, beta2=0.999, weight_decay=1e-4)
TWO_CPUS = ScalingConfig(workers=2, cpus_per_worker=0.5, cpus_per_data_task=0.5, cpus_per_evaluation=0.25)


def edges2shoes256_munit() -> Experiment:
    """MUNIT on edges and photographs of shoes, at 256x256.

    Command:   alae train edges2shoes256_munit
               after: alae pack FOLDER data/edges2shoes256 --domains side_by_side --resolution 256 --encoding jpeg
    Expected:  the paper's LPIPS diversity [P]: 0.109 (random real pairs 0.293; a user got 0.215). Not yet measured here
    Cost:      not yet measured; 1 million images of each domain. A user of the official code reported 0.43 s an iteration
               on a Titan Xp
    Status:    not yet run at full size

    The official configuration [C]: 1,000,000 iterations of one image of each domain; the learning rate is halved after
    every 100,000. The official code does not enlarge images of 256 px, so they are not cropped.
    """
    return Experiment(
        name="edges2shoes256_munit",
        algorithm=Config(resolution=256),
        schedule=ProgressiveSchedule(
            resolutions=(256,), stable_kimg=(1000.0,), batch_size=(1,), lr=(0.0001,), lr_halves_every_kimg=100.0
        ),
        data=DataConfig(path="data/edges2shoes256", flip=True),
        training=TrainingConfig(optimizer=ADAM, tick_kimg=1.0, keep_checkpoints=10),
        evaluation=EvaluationConfig(samples=200, extractor="pixels"),
        scaling=ScalingConfig(workers=1, gpus_per_worker=1.0),
    )


def edges2handbags256_munit() -> Experiment:
    """MUNIT on edges and photographs of handbags, at 256x256: edges2shoes256_munit on other data.

    Command:   alae train edges2handbags256_munit
               after: alae pack FOLDER data/edges2handbags256 --domains side_by_side --resolution 256 --encoding jpeg
    Expected:  the paper's LPIPS diversity [P]: 0.175 (random real pairs 0.371). Not yet measured here
    Cost:      as edges2shoes256_munit
    Status:    not yet run at full size
    """
    shoes = edges2shoes256_munit()
    data = replace(shoes.data, path="data/edges2handbags256")
    return replace(shoes, name="edges2handbags256_munit", data=data)


def summer2winter256_munit() -> Experiment:
    """MUNIT on summer and winter in Yosemite, at 256x256: edges2shoes256_munit with a cycle.

    Command:   alae train summer2winter256_munit
               after: alae pack FOLDER data/summer2winter256 --domains folders --resolution 256
    Expected:  the paper reports no figure for it. Not yet measured here
    Cost:      not yet measured; 1 million images of each domain. A user of the official code reported 0.43 s an iteration
               on a Titan Xp
    Status:    not yet run at full size

    The official configuration [C]; its cycle-consistency weight of 10 preserves the layout of the image.
    """
    shoes = edges2shoes256_munit()
    return replace(
        shoes,
        name="summer2winter256_munit",
        algorithm=Config(resolution=256, loss=LossConfig(recon_x_cyc_w=10.0)),
        data=replace(shoes.data, path="data/summer2winter256"),
    )


def emoji_noto2twemoji64_munit() -> Experiment:
    """MUNIT between two styles of the same emoji, Noto and Twemoji, at 64x64 and a quarter of the width.

    Command:   alae train emoji_noto2twemoji64_munit
               after: alae pack NOTO data/emoji_noto2twemoji64 --second TWEMOJI --resolution 64 --validation 0.1
               the whole width, for a GPU: algorithm.base_channels=64 algorithm.hidden=256 scaling.gpus_per_worker=1
    Expected:  to Noto and to Twemoji: kernel distance x 1000 on Lite0 137.6 and 154.9 (the images themselves: 13.7 and
               14.3), paired l1 0.398 and 0.423 (0.341); blurred or speckled
               See benchmarks/emoji64_cpu2_2026-11-22.md
    Cost:      73 minutes of one busy thread; 12 thousand images of each domain
    Status:    run in the plain loop

    Each emoji is seen about four times. The reconstruction weights suit a small budget [S]: 7, 3, 3 and 3 instead of 10, 1,
    1 and 0. One downsampling instead of two gives a content code as many positions as that of an image of 128 px.
    """
    return Experiment(
        name="emoji_noto2twemoji64_munit",
        algorithm=Config(
            resolution=64,
            base_channels=16,
            hidden=128,
            downsamplings=1,
            loss=LossConfig(recon_x_w=7.0, recon_s_w=3.0, recon_c_w=3.0, recon_x_cyc_w=3.0),
        ),
        schedule=ProgressiveSchedule(
            resolutions=(64,), stable_kimg=(12.0,), batch_size=(2,), lr=(0.0003,), lr_falls_from_kimg=6.0
        ),
        data=DataConfig(path="data/emoji_noto2twemoji64", flip=True),
        training=TrainingConfig(
            optimizer=ADAM,
            ema_half_life_kimg=0.5,
            tick_kimg=0.2,
            checkpoint_ticks=10,
            keep_checkpoints=3,
        ),
        evaluation=EvaluationConfig(samples=300, extractor="pixels"),
        scaling=TWO_CPUS,
    )
