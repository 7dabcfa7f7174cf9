"""Path lengths are computed without TF32, in images and distances, and restore the settings of the process."""

from collections.abc import Iterator
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from alae_core.metrics.path_length import exact_products
from alae_core.schedule import Level
from pipelines.data.format.shards import Dataset
from pipelines.evaluation.draws import Drawn, Paths
from pipelines.evaluation.measures import PathLength
from pipelines.evaluation.subject import Subject
from tests.support.coded import Coded

Flags = tuple[bool, bool]


def flags() -> Flags:
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


def allow(both: Flags) -> None:
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = both


@pytest.fixture(params=[(True, True), (True, False), (False, True)])
def allowed(request: pytest.FixtureRequest) -> Iterator[Flags]:
    before = flags()
    allow(request.param)
    yield request.param
    allow(before)


def test_tf32_is_off_within_and_as_it_was_afterwards_also_after_an_error(allowed: Flags) -> None:
    with exact_products():
        assert flags() == (False, False)
    assert flags() == allowed
    with pytest.raises(KeyError), exact_products():
        raise KeyError
    assert flags() == allowed


def test_images_along_a_path_and_their_distances_are_computed_without_it(allowed: Flags) -> None:
    seen: list[Flags] = []

    class Watching(nn.Module):
        def forward(self, code: Tensor) -> Tensor:
            seen.append(flags())
            return code.view(-1, 1, 4, 4)

    def distance(a: Tensor, b: Tensor) -> Tensor:
        seen.append(flags())
        return (a - b).square().flatten(1).sum(1)

    algorithm: Any = Coded(16)
    level = Level(index=0, resolution=4, blend=1.0, batch_size=8, lr=1e-3)
    networks = {"mapping": Watching(), "generator": Watching()}
    subject = Subject(algorithm=algorithm, networks=networks, level=level, channels=1, seed=0)
    drawn = Paths("z", "full", "none").draw(subject, cast(Dataset, None), 0, 0, 8)
    assert len(seen) == 4 and flags() == allowed
    measure = PathLength(distance)
    measure.add(measure.start(), torch.arange(8), Drawn(drawn.first, drawn.second))
    assert seen == [(False, False)] * 5 and flags() == allowed
