"""StyleALAE on MNIST at 32x32, grown from 4x4 on two CPU workers: the demo.

Command:   alae train mnist32_style_alae
Expected:  not yet measured
Cost:      not yet measured; 0.18 million images
Status:    not yet run; sizes and lengths are provisional
"""

from alae_core.algorithms import style_alae
from alae_core.schedule import ProgressiveSchedule
from pipelines.experiment import DataConfig, Experiment, ScalingConfig


def experiment() -> Experiment:
    """StyleALAE, 4 -> 8 -> 16 -> 32, 64 latent dimensions."""
    return Experiment(
        name="mnist32_style_alae",
        algorithm=style_alae.Config(
            resolution=32, channels=1, latent=64, base_channels=32, max_channels=128, mapping_layers=4
        ),
        schedule=ProgressiveSchedule(
            resolutions=(4, 8, 16, 32),
            stable_kimg=(20.0, 20.0, 20.0, 60.0),
            fade_kimg=(0.0, 20.0),
            batch_size=(128, 128, 64, 32),
            lr=(0.0015,),
        ),
        data=DataConfig(path="data/mnist32"),
        scaling=ScalingConfig(workers=2, cpus_per_worker=0.5),
    )
