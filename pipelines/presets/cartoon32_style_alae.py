"""StyleALAE on drawn faces at 32x32, grown from 4x4 at reduced width, on CPUs.

Command:   alae train cartoon32_style_alae
           after: alae pack FOLDER data/cartoon32 --resolution 32 --validation 0.1
           or in one process, from a Parquet file: python benchmarks/cartoon_faces.py --preset cartoon32_style_alae
Expected:  benchmarks/cartoon32_cpu2_2026-11-22.md
Cost:      150 thousand images
Status:    run in the plain loop, not to its end; not yet run by the command
"""

from alae_core.algorithms import style_alae
from alae_core.algorithms.alae import LossConfig
from alae_core.schedule import ProgressiveSchedule
from pipelines.experiment import DataConfig, EvaluationConfig, Experiment, ScalingConfig, TrainingConfig


def experiment() -> Experiment:
    """StyleALAE, 4 -> 8 -> 16 -> 32; widths, rates and lengths chosen for CPUs."""
    return Experiment(
        name="cartoon32_style_alae",
        algorithm=style_alae.Config(
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
        scaling=ScalingConfig(workers=2, cpus_per_worker=0.5, cpus_per_data_task=0.5, cpus_per_evaluation=0.25),
    )
