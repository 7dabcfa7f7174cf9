"""StyleGAN with WGAN-GP on CelebA-HQ at 1024x1024: configuration F of its table 1, as trained there.

Command:   alae train celebahq1024_stylegan_wgan
           after: alae pack <folder of CelebA-HQ> data/celebahq1024 --resolution 1024
Expected:  the paper reports FID 5.17 [C: wizwand.com]
Cost:      12 million images, about half of the time of ffhq1024_stylegan_f
Status:    not yet run at full size
"""

from dataclasses import replace

from alae_core.algorithms import stylegan
from alae_core.algorithms.stylegan import LossConfig
from pipelines.experiment import Experiment
from pipelines.presets import ffhq1024_stylegan_a


def experiment() -> Experiment:
    """The whole method at the baseline's loss and length; the learning rate stays at 0.002 from 256 px on."""
    baseline = ffhq1024_stylegan_a.experiment()
    return replace(
        baseline,
        name="celebahq1024_stylegan_wgan",
        algorithm=stylegan.Config(resolution=1024, loss=LossConfig(adversarial="wgan_gp")),
        schedule=replace(baseline.schedule, lr=tuple(min(lr, 0.002) for lr in baseline.schedule.lr)),
        data=replace(baseline.data, path="data/celebahq1024"),
    )
