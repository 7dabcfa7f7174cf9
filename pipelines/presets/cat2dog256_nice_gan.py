"""NICE-GAN on cats and dogs, at 256x256.

Command:   alae train cat2dog256_nice_gan
           after: alae pack FOLDER data/cat2dog256 --domains folders --resolution 256
Expected:  the paper's FID, KID x 100 [P]: cat to dog 44.67, 1.20; dog to cat 48.79, 1.58. Not yet measured here
Cost:      not yet measured; 300 thousand images of each domain. Users of the official code: 80,000 s for 100,000 iterations on
           a 2080 Ti
Status:    not yet run at full size

The official script [C], light form. The paper's numbers are those at 100 thousand images, before the rate falls.
"""

from alae_core.algorithms import nice_gan
from alae_core.optim import AdamConfig
from alae_core.schedule import ProgressiveSchedule
from pipelines.experiment import DataConfig, EvaluationConfig, Experiment, ScalingConfig, TrainingConfig


def experiment() -> Experiment:
    """300,000 iterations of one image of each domain; the rate falls in a line over the second half."""
    return Experiment(
        name="cat2dog256_nice_gan",
        algorithm=nice_gan.Config(resolution=256),
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
