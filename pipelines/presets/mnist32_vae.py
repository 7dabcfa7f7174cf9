"""A plain VAE on MNIST at 32x32: IntroVAE without its game.

Command:   alae train mnist32_vae
           after: alae pack mnist5k data/mnist32 --resolution 32 --square pad --validation 0.1
Expected:  benchmarks/intro_vae_cpu2_2026-11-22.md
Cost:      150 thousand images
Status:    run in the plain loop, for CPU minutes; not yet run by the command

The baseline of the introspective ones: same networks, images and weights, but no fakes.
"""

from dataclasses import replace
from typing import Any

from pipelines.experiment import Experiment
from pipelines.presets import mnist32_intro_vae


def experiment() -> Experiment:
    """As mnist32_intro_vae, without fakes."""
    whole = mnist32_intro_vae.experiment()
    algorithm: Any = whole.algorithm
    loss = replace(algorithm.loss, negative_weight=0.0, generator_weight=0.0)
    return replace(whole, name="mnist32_vae", algorithm=replace(algorithm, loss=loss))
