"""NICE-GAN between two styles of the same emoji, Noto and Twemoji, at 64x64 and three eighths of the width:
emoji_noto2twemoji64_munit with another algorithm.

Command:   alae train emoji_noto2twemoji64_nice_gan
           after: alae pack NOTO data/emoji_noto2twemoji64 --second TWEMOJI --resolution 64 --validation 0.1
           the whole width, for a GPU: algorithm.base_channels=64 scaling.gpus_per_worker=1
Expected:  to Noto and to Twemoji: kernel distance x 1000 on Lite0 192.2 and 215.4 (the images themselves: 13.7 and
           14.3), paired l1 0.299 and 0.317 (0.341); blurred or speckled
           See benchmarks/emoji64_cpu2_2026-11-22.md
Cost:      73 minutes of one busy thread; 12 thousand images of each domain
Status:    run in the plain loop
"""

from dataclasses import replace

from alae_core.algorithms import nice_gan
from pipelines.experiment import Experiment
from pipelines.presets import emoji_noto2twemoji64_munit


def experiment() -> Experiment:
    """The smaller published form; each emoji about four times."""
    return replace(
        emoji_noto2twemoji64_munit.experiment(),
        name="emoji_noto2twemoji64_nice_gan",
        algorithm=nice_gan.Config(resolution=64, base_channels=24, residual_blocks=4, discriminator_layers=6),
    )
