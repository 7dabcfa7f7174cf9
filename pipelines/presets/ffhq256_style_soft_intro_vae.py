"""Style-Soft-IntroVAE on FFHQ at 256x256, by the official code's tables for 4 GPUs.

Command:   alae train ffhq256_style_soft_intro_vae
           after: alae pack FOLDER data/ffhq256 --resolution 256 --validation 0.142857  (60,000 of 70,000 to train on)
Expected:  the authors: FID 17.55 [P, C], 50,000 samples of the averages against the train images. Not yet measured here
Cost:      not yet measured; 18 million images
Status:    not yet run at full size

The code's weight of the reconstruction is 0.1 of images in [-1, 1], which is 0.4 of images in [0, 1]; its README says 0.05 [C].
"""

from dataclasses import replace
from typing import Any

from pipelines.experiment import Experiment
from pipelines.presets import celebahq256_style_soft_intro_vae


def experiment() -> Experiment:
    """16 epochs of 60,000 images a level, half of them fading; 300 epochs in all, the first as a plain VAE."""
    whole = celebahq256_style_soft_intro_vae.experiment()
    algorithm: Any = whole.algorithm
    return replace(
        whole,
        name="ffhq256_style_soft_intro_vae",
        algorithm=replace(algorithm, loss=replace(algorithm.loss, reconstruction_weight=0.4, warmup_kimg=(60.0, 0.0))),
        schedule=replace(
            whole.schedule,
            stable_kimg=(960.0, *(480.0,) * 5, 11760.0),
            fade_kimg=(480.0,),
            lr=(*(0.0015,) * 6, 0.002),
        ),
        data=replace(whole.data, path="data/ffhq256"),
    )
