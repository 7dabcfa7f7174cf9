"""With lazy R1 one pass scores fakes and reals, with the same terms and gradients as two passes."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from alae_core import losses
from alae_core.algorithm import Batch
from alae_core.images import to_float
from pipelines import presets
from tests.support import tensors, tiny

LAZY = ("mnist32_style_alae", "cartoon32_stylegan")


def batch_of(name: str) -> tuple[Any, Batch]:
    experiment = tiny.brief(presets.load(name))
    experiment = replace(
        experiment, algorithm=replace(experiment.algorithm, loss=replace(experiment.algorithm.loss, r1_every=4))
    )
    algorithm = tiny.build(experiment).algorithm
    level = experiment.schedule.level_at(experiment.schedule.segments[1].start)
    (pixels,) = tiny.pixels(experiment, experiment.schedule.segments[1].start)
    rows = slice(0, level.batch_size)
    batch = Batch(images=(to_float(pixels).double(),), level=level, nimg=0, seed=0, rows=rows, update="discriminator")
    return algorithm, batch


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    with tensors.float64():
        yield


def gradients(algorithm: Any, terms: dict[str, Tensor]) -> dict[str, Tensor]:
    network = algorithm.networks["discriminator"]
    network.zero_grad()
    (terms["fake"].mean() + terms["real"].mean()).backward()
    return {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", LAZY)
def test_fakes_and_reals_in_one_pass_are_scored_as_in_two(name: str) -> None:
    algorithm, batch = batch_of(name)
    together = next(u for u in algorithm.updates(0) if u.name == "discriminator").loss(batch)
    apart = {
        "fake": losses.logistic_fake(algorithm._score(algorithm._frozen_fake(batch), batch)),
        "real": losses.logistic_real(algorithm._score(batch.images[0], batch)),
    }
    assert together.keys() == apart.keys()
    first, second = gradients(algorithm, together), gradients(algorithm, apart)
    assert first and first.keys() == second.keys()
    for key in apart:
        torch.testing.assert_close(together[key], apart[key])
    for key in first:
        torch.testing.assert_close(first[key], second[key], rtol=1e-7, atol=1e-10)
