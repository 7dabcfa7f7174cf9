"""MUNIT on summer and winter in Yosemite, at 256x256.

Command:   alae train summer2winter256_munit
           after: alae pack FOLDER data/summer2winter256 --domains folders --resolution 256
Expected:  the paper has no number of it. Not yet measured here
Cost:      not yet measured; 1 million images of each domain. A user of the official code told of 0.43 s an iteration on a
           Titan Xp
Status:    not yet run at full size

The official configuration [C], whose cycle weight of 10 keeps every pixel in its place.
"""

from alae_core.algorithms import munit
from alae_core.optim import AdamConfig
from alae_core.schedule import ProgressiveSchedule
from pipelines.experiment import DataConfig, EvaluationConfig, Experiment, ScalingConfig, TrainingConfig


def experiment() -> Experiment:
    """A million iterations of one image of each domain, the rate halved after every hundred thousand."""
    return Experiment(
        name="summer2winter256_munit",
        algorithm=munit.Config(resolution=256, loss=munit.LossConfig(recon_x_cyc_w=10.0)),
        schedule=ProgressiveSchedule(
            resolutions=(256,), stable_kimg=(1000.0,), batch_size=(1,), lr=(0.0001,), lr_halves_every_kimg=100.0
        ),
        data=DataConfig(path="data/summer2winter256", flip=True),
        training=TrainingConfig(
            optimizer=AdamConfig(beta1=0.5, beta2=0.999, weight_decay=1e-4), tick_kimg=1.0, keep_checkpoints=10
        ),
        evaluation=EvaluationConfig(samples=200, extractor="pixels"),
        scaling=ScalingConfig(workers=1, gpus_per_worker=1.0),
    )
