"""Presets of ALAE with MLPs (Pidhorskyi et al. 2020, section 5.1)."""

from alae_core.algorithms import alae
from alae_core.schedule import ProgressiveSchedule
from pipelines.experiment import DataConfig, Experiment, ScalingConfig


def mnist32_alae() -> Experiment:
    """MLP ALAE on MNIST as flat vectors of 32x32 pixels (ALAE, section 5.1; 28x28 there).

    Command:   alae train mnist32_alae
               after: alae pack mnist5k data/mnist32 --resolution 32 --square pad --validation 0.1
    Expected:  not yet measured; this recipe at 28x28, without Ray: benchmarks/mnist28_alae_cpu2_2026-11-22.md
    Cost:      not yet measured; 0.16 million images
    Status:    not yet run

    One level of 32x32; codes have 50 dimensions.
    """
    return Experiment(
        name="mnist32_alae",
        algorithm=alae.Config(
            resolution=32,
            channels=1,
            latent=50,
            hidden=1024,
            mapping_layers=6,
            loss=alae.LossConfig(r1_gamma=2.0),
        ),
        schedule=ProgressiveSchedule(resolutions=(32,), stable_kimg=(160.0,), batch_size=(128,), lr=(0.008,)),
        data=DataConfig(path="data/mnist32"),
        scaling=ScalingConfig(workers=2, cpus_per_worker=0.5),
    )
