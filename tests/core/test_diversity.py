"""Diversity over known pairs, and of models that have none."""

import pytest
import torch
from torch import Tensor

from alae_core.metrics.diversity import disjoint_pairs, diversity, random_pairs, upper_reference


def gap(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).abs().flatten(1).mean(1)


def test_pairs_are_different_of_two_and_named_by_the_seed() -> None:
    pairs = random_pairs(7, 21, 3)
    assert len({tuple(sorted(pair)) for pair in pairs.tolist()}) == 21
    assert (pairs[:, 0] != pairs[:, 1]).all()
    assert torch.equal(random_pairs(20, 19, 3, "a"), random_pairs(20, 19, 3, "a"))
    assert not torch.equal(random_pairs(20, 19, 3, "a"), random_pairs(20, 19, 3, "b"))


def test_disjoint_pairs_share_nothing() -> None:
    pairs = disjoint_pairs(10, 5, 0)
    assert sorted(pairs.flatten().tolist()) == list(range(10))
    assert pairs.shape == (5, 2)


def test_a_deterministic_model_has_none() -> None:
    same = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0)).expand(20, -1, -1, -1)
    found = diversity([same, same * 0.5], gap)
    assert (found.value, found.standard_error, found.count) == (0.0, 0.0, 2)


def test_all_pairs_of_known_outputs_give_their_mean_and_the_spread_of_the_inputs() -> None:
    first = torch.tensor([0.0, 1.0, 3.0]).view(3, 1, 1, 1)
    found = diversity([first, 10 * first], gap, pairs=3)
    assert found.value == pytest.approx((2.0 + 20.0) / 2)
    # Two inputs have the values 2 and 20: their standard deviation is 18 / sqrt 2, divided by sqrt 2.
    assert found.standard_error == pytest.approx(9.0)


def test_the_upper_reference_is_the_mean_gap_of_the_data() -> None:
    values = torch.rand(4000, 1, 1, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    read: list[Tensor] = []

    def real(numbers: Tensor) -> Tensor:
        read.append(numbers)
        return values[numbers]

    found = upper_reference(real, 4000, gap, pairs=2000, batch_size=300)
    # The difference of two uniform values has the mean 1/3 and the standard deviation sqrt(1/18).
    assert abs(found.value - 1 / 3) < 3 * (found.standard_error or 0)
    assert found.standard_error == pytest.approx((1 / 18 / 2000) ** 0.5, rel=0.1)
    assert max(map(len, read)) == 300 and len(torch.cat(read).unique()) == 4000


def test_more_pairs_than_there_are_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match="3 images make 3 pairs, pairs=19 cannot be drawn; make more images"):
        diversity([torch.zeros(3, 1, 2, 2)], gap)
    with pytest.raises(ValueError, match="5 images make 2 pairs without sharing"):
        disjoint_pairs(5, 3, 0)
    with pytest.raises(ValueError, match="no values"):
        diversity([], gap)
