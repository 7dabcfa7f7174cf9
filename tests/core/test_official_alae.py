"""StyleALAE in its `_compat` form against the official ALAE: styles, images, codes, loss with R1 and all its gradients."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from alae_core import layers
from alae_core.algorithms import style_alae
from alae_core.algorithms.alae import LossConfig
from alae_core.schedule import Level
from tests.support.official import FORMS, Form, OfficialValues, StoredNoise, weighted_sum

UNSTORED = (".bias1", ".bias2")
"""The encoder's biases, whose gradients the file does not have."""


def compare(form: Form = "eager", **changes: Any) -> None:
    """Every value of the file; `changes` are of the loss and of the official habits."""
    with OfficialValues("alae_official", form).compared() as official:
        config = official.config(style_alae.Config, LossConfig, style_alae.OfficialCode)
        loss = {name: value for name, value in changes.items() if hasattr(config.loss, name)}
        habits = {name: value for name, value in changes.items() if name not in loss}
        algorithm = replace(
            config,
            mixing_probability=0.0,  # The stored images have one style for all layers.
            loss=replace(config.loss, **loss),
            official=replace(config.official, **habits),
        ).build()
        official.load(algorithm.networks)
        official.close("w", algorithm.networks["mapping"](official["z"]))
        for tag in official.names("image"):
            compare_level(official, algorithm, tag)


def compare_level(official: OfficialValues, algorithm: Any, tag: str) -> None:
    resolution, blend = tag.split("px_blend")
    batch = batch_of(official, tag, int(resolution), float(blend))
    official.close(f"image/{tag}", algorithm.generate(algorithm.networks, batch))
    official.close(f"code/{tag}", algorithm.embed(algorithm.networks, batch))
    _, loss = weighted_sum(algorithm, "discriminator", batch)
    official.close(f"loss/{tag}", loss)
    trained = {name: algorithm.networks[name] for name in official.names(f"grad/{tag}")}
    assert trained.keys() == {"encoder", "discriminator"}
    official.close_gradients(f"grad/{tag}", loss, trained, UNSTORED)


def batch_of(official: OfficialValues, tag: str, resolution: int, blend: float) -> StoredNoise:
    images = official.images("pixels")
    images = F.avg_pool2d(images, images.shape[-1] // resolution)
    count = len(images)
    level = Level(index=0, resolution=resolution, blend=blend, batch_size=count, lr=1e-3)
    stored = {name: official[f"noise/{tag}/{name}"] for name in official.names(f"noise/{tag}")}
    stored["z"] = official["z"]
    return StoredNoise(images=(images,), level=level, nimg=0, seed=0, rows=slice(0, count), stored=stored)


@pytest.mark.parametrize("form", [pytest.param(f, marks=[pytest.mark.slow] * (f == "compiled")) for f in FORMS])
def test_every_value_and_gradient_is_that_of_the_official_code(form: Form) -> None:
    from torch._dynamo.utils import counters

    compare(form)
    assert form != "compiled" or counters["stats"]["unique_graphs"] > 0


@pytest.mark.parametrize(
    "change",
    [
        {"r1_gamma": 10.0 * (1 + 1e-9)},
        {"from_rgb_activations": 1},
        {"deviation_eps": 1e-8},
        {"encoder_norm_eps": 1e-8},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_comparison_fails_where_a_constant_drifts(change: dict[str, Any]) -> None:
    with pytest.raises(AssertionError, match="differs by"):
        compare(**change)


def test_the_comparison_fails_where_the_leak_drifts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "LEAK", layers.LEAK + 1e-9)
    with pytest.raises(AssertionError, match="differs by"):
        compare()


def test_the_comparison_fails_where_a_value_is_never_compared_or_has_another_shape() -> None:
    with pytest.raises(AssertionError, match=r"never compared: .*'pixels'"):
        with OfficialValues("alae_official").compared() as official:
            official.close("w", official["w"])
    with pytest.raises(AssertionError, match="w is of another form"):
        official.close("w", official["w"][:1])


def test_the_comparison_fails_where_a_gradient_is_missing() -> None:
    official, layer = OfficialValues("alae_official"), torch.nn.Linear(8, 8, dtype=torch.float64)
    with pytest.raises(AssertionError, match=r"'layers.0.weight'.* in one of both"):
        official.close_gradients("grad/4px_blend1.0", layer.weight.sum(), {"discriminator": layer})
