"""NICE-GAN against the official one: every loss term of both updates and every gradient of their weighted sums.

The official code moves its singular vectors in each forward pass, ours once an iteration; here both stay at the stored ones.
Its layers have no chain that `training.compile` compiles: the form "compiled" shows that the switch changes nothing.
"""

from dataclasses import replace
from typing import Any

import pytest

from alae_core.algorithm import DOMAINS, Batch
from alae_core.algorithms import nice_gan
from alae_core.networks.nice_gan import follow_spectral_norms
from alae_core.schedule import Level
from tests.support.official import FORMS, Form, OfficialValues, weighted_sum


def compare(form: Form = "eager", followed: bool = False, **loss: Any) -> None:
    """Every value of the file; `loss` changes weights, `followed` moves the singular vectors by one step."""
    with OfficialValues("nice_gan_official", form).compared() as official:
        config = official.config(nice_gan.Config, nice_gan.LossConfig)
        algorithm: Any = replace(config, loss=replace(config.loss, **loss)).build()
        official.load(algorithm.networks)
        if followed:
            follow_spectral_norms(algorithm.networks["encoder_a"])
        batch = batch_of(official)
        for update in algorithm.updates(0):
            terms, total = weighted_sum(algorithm, update.name, batch)
            for term in official.names(f"term/{update.name}"):
                official.close(f"term/{update.name}/{term}", terms[term])
            names = official.names(f"grad/{update.name}")
            assert set(names) == set(update.trains)
            official.close_gradients(f"grad/{update.name}", total, {name: algorithm.networks[name] for name in names})


def batch_of(official: OfficialValues) -> Batch:
    images = tuple(official.images(f"pixels/{domain}") for domain in DOMAINS)
    count, side = len(images[0]), images[0].shape[-1]
    level = Level(index=0, resolution=side, blend=1.0, batch_size=count, lr=1e-3)
    return Batch(images=images, level=level, nimg=0, seed=0, rows=slice(0, count))


@pytest.mark.parametrize("form", FORMS)
def test_every_term_and_gradient_is_that_of_the_official_code(form: Form) -> None:
    compare(form)


@pytest.mark.parametrize("weight", ["adv_weight", "cycle_weight", "recon_weight"])
def test_the_comparison_fails_where_a_weight_drifts(weight: str) -> None:
    official = {"adv_weight": 1.0, "cycle_weight": 10.0, "recon_weight": 10.0}
    with pytest.raises(AssertionError, match="differs by"):
        compare(**{weight: official[weight] * (1 + 1e-9)})


def test_the_comparison_fails_where_a_singular_vector_moves() -> None:
    with pytest.raises(AssertionError, match="differs by"):
        compare(followed=True)
