"""MUNIT against the official one: every loss term of both updates and every gradient of their weighted sums.

Its layers have no chain that `training.compile` compiles: the form "compiled" shows that the switch changes nothing.
"""

from dataclasses import replace
from typing import Any

import pytest

from alae_core.algorithm import DOMAINS
from alae_core.algorithms import munit
from alae_core.schedule import Level
from tests.support.official import FORMS, Form, OfficialValues, StoredNoise, weighted_sum


def compare(form: Form = "eager", **loss: Any) -> None:
    """Every value of the file; `loss` changes weights."""
    with OfficialValues("munit_official", form).compared() as official:
        config = official.config(munit.Config, munit.LossConfig)
        algorithm: Any = replace(config, loss=replace(config.loss, **loss)).build()
        official.load(algorithm.networks)
        for update in ("discriminator", "generator"):
            terms, total = weighted_sum(algorithm, update, batch_of(official, update))
            for domain in DOMAINS:
                if update == "discriminator":
                    terms[f"fake_plus_real_{domain}"] = terms[f"fake_{domain}"] + terms[f"real_{domain}"]
            for term in official.names(f"term/{update}"):
                official.close(f"term/{update}/{term}", terms[term])
            # The generator's loss reaches the discriminators, too; the engine freezes them.
            names = official.names(f"grad/{update}")
            moved = set(next(u.trains for u in algorithm.updates(0) if u.name == update))
            assert moved <= set(names)
            official.close_gradients(f"grad/{update}", total, {name: algorithm.networks[name] for name in names})


def batch_of(official: OfficialValues, update: str) -> StoredNoise:
    images = tuple(official.images(f"pixels/{domain}") for domain in DOMAINS)
    count, side = len(images[0]), images[0].shape[-1]
    level = Level(index=0, resolution=side, blend=1.0, batch_size=count, lr=1e-3)
    styles = official[f"styles/{update}"]
    return StoredNoise(
        images=images,
        level=level,
        nimg=0,
        seed=0,
        rows=slice(0, count),
        stored={f"style_{domain}": style for domain, style in zip(DOMAINS, styles, strict=True)},
    )


@pytest.mark.parametrize("form", FORMS)
def test_every_term_and_gradient_is_that_of_the_official_code(form: Form) -> None:
    compare(form)


@pytest.mark.parametrize("weight", ["gan_w", "recon_x_w", "recon_s_w", "recon_c_w", "recon_x_cyc_w"])
def test_the_comparison_fails_where_a_weight_drifts(weight: str) -> None:
    official = {"gan_w": 1.0, "recon_x_w": 10.0, "recon_s_w": 1.0, "recon_c_w": 1.0, "recon_x_cyc_w": 3.0}
    with pytest.raises(AssertionError, match="differs by"):
        compare(**{weight: official[weight] * (1 + 1e-9)})
