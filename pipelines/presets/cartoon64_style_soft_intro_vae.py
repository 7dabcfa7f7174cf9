"""Style-Soft-IntroVAE on drawn faces at 64x64, grown from 4x4 at reduced width.

Command:   alae train cartoon64_style_soft_intro_vae
           after: alae pack FOLDER data/cartoon64 --resolution 64 --validation 0.1
Expected:  not yet measured
Cost:      330 thousand images
Status:    not yet run

The scale is 1 / (3 * 64^2), as the official one is about 1 / (3 * 256^2); the reach of fakes is 24 nats from 32x32 up.
"""

from alae_core.algorithms import style_soft_intro_vae
from alae_core.algorithms.soft_intro_vae import LossConfig
from alae_core.schedule import ProgressiveSchedule
from pipelines.experiment import DataConfig, EvaluationConfig, Experiment, ScalingConfig, TrainingConfig


def experiment() -> Experiment:
    """4 -> 8 -> 16 -> 32 -> 64; widths, rates and lengths chosen for small machines."""
    return Experiment(
        name="cartoon64_style_soft_intro_vae",
        algorithm=style_soft_intro_vae.Config(
            resolution=64,
            latent=96,
            base_channels=24,
            max_channels=96,
            mapping_layers=4,
            rgb_gain=0.3,
            loss=LossConfig(
                kl_weight=0.2,
                reconstruction_weight=0.2,
                negative_weight=(1024.0, 1024.0, 512.0, 256.0, 256.0),
                scale=8e-5,
                warmup_kimg=(5.0, 0.0),
            ),
        ),
        schedule=ProgressiveSchedule(
            resolutions=(4, 8, 16, 32, 64),
            stable_kimg=(20.0, 30.0, 45.0, 60.0, 75.0),
            fade_kimg=(0.0, 15.0, 20.0, 30.0, 35.0),
            batch_size=(32,),
            lr=(*(0.002,) * 4, 0.0015),
        ),
        data=DataConfig(path="data/cartoon64"),
        training=TrainingConfig(ema_half_life_kimg=3.0, tick_kimg=1.0, checkpoint_ticks=20, keep_checkpoints=3),
        evaluation=EvaluationConfig(samples=5000, extractor="pixels"),
        scaling=ScalingConfig(workers=2, cpus_per_worker=0.5, cpus_per_data_task=0.5, cpus_per_evaluation=0.25),
    )
