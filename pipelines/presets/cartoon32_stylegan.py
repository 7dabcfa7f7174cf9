"""StyleGAN on drawn faces at 32x32: the baseline of cartoon32_style_alae, with its widths, schedule and images.

Command:   alae train cartoon32_stylegan
           after: alae pack FOLDER data/cartoon32 --resolution 32 --validation 0.1
           or in one process, from a Parquet file: python benchmarks/cartoon_faces.py --preset cartoon32_stylegan
Expected:  benchmarks/cartoon32_cpu2_2026-11-22.md
Cost:      150 thousand images; 29 minutes of CPU time there
Status:    run in the plain loop; not yet run by the command
"""

from dataclasses import replace

from alae_core.algorithms import stylegan
from pipelines.experiment import Experiment
from pipelines.presets import cartoon32_style_alae


def experiment() -> Experiment:
    """StyleGAN in place of StyleALAE; all else the same."""
    base = cartoon32_style_alae.experiment()
    algorithm = stylegan.Config(
        resolution=32,
        channels=3,
        latent=96,
        base_channels=24,
        max_channels=96,
        mapping_layers=4,
        loss=stylegan.LossConfig(r1_gamma=1.0, r1_every=8),
    )
    return replace(base, name="cartoon32_stylegan", algorithm=algorithm)
