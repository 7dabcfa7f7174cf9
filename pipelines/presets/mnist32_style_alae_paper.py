"""StyleALAE on MNIST at 32x32 at the official code's full width and length; mnist32_style_alae is the small demo.

Command:   alae train mnist32_style_alae_paper
           after: alae pack mnist.npz data/mnist32_60k --resolution 32 --square pad  (60,000 digits of 28x28, padded)
           on one GPU: scaling.workers=1; the batch stays the same and is accumulated from the same parts
Expected:  the paper reports no figure that we know of. Not yet measured here
Cost:      not yet measured; 3.6 million images
Status:    not yet run at full size
"""

from alae_core.algorithms import style_alae
from alae_core.schedule import ProgressiveSchedule
from pipelines.experiment import DataConfig, EvaluationConfig, Experiment, ScalingConfig, TrainingConfig


def experiment() -> Experiment:
    """10 epochs of 60,000 images a level, half of them fading; 60 epochs in all."""
    return Experiment(
        name="mnist32_style_alae_paper",
        algorithm=style_alae.Config(
            resolution=32, channels=1, latent=32, base_channels=64, max_channels=256, mapping_layers=4
        ),
        schedule=ProgressiveSchedule(
            resolutions=(4, 8, 16, 32),
            stable_kimg=(600.0, 300.0, 300.0, 1500.0),
            fade_kimg=(300.0,),
            batch_size=(128, 128, 128, 64),
            lr=(0.0015,),
        ),
        data=DataConfig(path="data/mnist32_60k"),
        training=TrainingConfig(microbatch=(16, 16, 16, 8), tick_kimg=10.0, keep_checkpoints=20),
        evaluation=EvaluationConfig(every_checkpoints=2),
        scaling=ScalingConfig(workers=8, gpus_per_worker=1.0),
    )
