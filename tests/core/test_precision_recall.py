"""Precision and recall against torch-fidelity and layouts with obvious values."""

import math

import pytest
import torch
from torch import Tensor

from alae_core.metrics import neighbours
from alae_core.metrics.precision_recall import BLOCKS, precision_recall
from alae_core.torchvision_import import torchvision


def normal(seed: int, count: int, dimension: int = 4, shift: float = 0.0, scale: float = 1.0) -> Tensor:
    drawn = torch.randn(count, dimension, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return drawn * scale + shift


def plain(real: Tensor, generated: Tensor, k: int = 3) -> tuple[float, float]:
    """Precision and recall from complete distance matrices; the (k + 1)-th smallest distance of a row counts itself."""

    def inside(points: Tensor, members: Tensor) -> float:
        radii = torch.cdist(members, members).kthvalue(k + 1, 1).values
        return float((torch.cdist(points, members) <= radii).any(1).double().mean())

    return inside(generated, real), inside(real, generated)


@pytest.mark.parametrize("chunk", [500, 2**24])
@pytest.mark.parametrize("k", [1, 3, 5])
def test_both_shares_equal_torch_fidelity_s(monkeypatch, chunk, k) -> None:
    torchvision()
    from torch_fidelity.metric_prc import calculate_precision_recall_full

    monkeypatch.setattr(neighbours, "CHUNK_NUMBERS", chunk)
    real, generated = normal(0, 150), normal(1, 130, shift=0.7, scale=0.8)
    found = precision_recall(real, generated, neighbours=k)
    theirs = calculate_precision_recall_full(generated, real, k)
    assert 0.2 < theirs[0] != theirs[1] < 0.9
    assert (found.precision.value, found.recall.value) == pytest.approx(theirs, abs=1e-6)
    assert (found.precision.value, found.recall.value) == pytest.approx(plain(real, generated, k), abs=1e-12)


def test_a_set_covers_itself_and_not_what_lies_far_away() -> None:
    x = normal(0, 40)
    assert [share.value for share in precision_recall(x, x.clone())] == [1.0, 1.0]
    assert [share.value for share in precision_recall(x, x + 100)] == [0.0, 0.0]


def test_few_modes_have_precision_and_no_recall_and_noise_the_reverse() -> None:
    real = normal(0, 200)
    few = precision_recall(real, normal(1, 200, scale=0.1))
    assert few.precision.value == 1.0 and few.recall.value < 0.2
    wide = precision_recall(real, normal(1, 200, scale=10.0))
    assert wide.precision.value < 0.2 and wide.recall.value > 0.8


def test_copies_of_one_image_cover_that_image_only() -> None:
    real = torch.cat([torch.zeros(10, 4), normal(0, 10, shift=5.0).float()]) + 0.1
    found = precision_recall(real, torch.zeros(20, 4) + 0.1)
    assert (found.precision.value, found.recall.value) == (1.0, 0.5)


def test_the_errors_are_binomial_and_a_jackknife_that_leaves_every_tenth_generated_image_out() -> None:
    real, generated = normal(0, 60, dimension=2), normal(1, 53, dimension=2, shift=1.0)
    found = precision_recall(real, generated)
    numbers = torch.arange(53)
    without = torch.tensor(
        [plain(real, generated[numbers % BLOCKS != block])[1] for block in range(BLOCKS)], dtype=torch.float64
    )
    expected = math.sqrt((BLOCKS - 1) / BLOCKS * float((without - without.mean()).square().sum()))
    assert expected > 0 and found.recall.standard_error == pytest.approx(expected, rel=1e-9)
    share = (found.precision.value * 53 + 1) / 55
    assert found.precision.standard_error == pytest.approx(math.sqrt(share * (1 - share) / 53), rel=1e-12)


def test_sets_without_so_many_neighbours_are_refused() -> None:
    with pytest.raises(ValueError, match=r"3 real and 20 generated images are too few .* neighbours=3"):
        precision_recall(normal(0, 3), normal(1, 20))
    with pytest.raises(ValueError, match="more than 3 real and at least 10 generated"):
        precision_recall(normal(0, 20), normal(1, 9))
    with pytest.raises(ValueError, match="neighbours=0"):
        precision_recall(normal(0, 20), normal(1, 20), neighbours=0)
