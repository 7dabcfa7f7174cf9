"""Error bars against the true spread: many draws of generated images, each with its own estimate of the error.

The mean of the squared error bars must agree with the variance of the values within the precision of that many draws.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from alae_core.metrics.estimate import Estimate, mean_estimate
from alae_core.metrics.frechet import FeatureStatistics
from alae_core.metrics.frechet_blocks import FeatureBlocks, frechet_estimate
from alae_core.metrics.kernel import kernel_distance
from alae_core.metrics.path_length import path_length_estimate
from alae_core.metrics.precision_recall import precision_recall
from alae_core.metrics.reconstruction import unexplained
from alae_core.metrics.separability import separability_estimate, surprisals

pytestmark = pytest.mark.slow


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def claimed_over_true(estimate: Callable[[int], Estimate], draws: int) -> tuple[float, float]:
    """The mean squared error bar divided by the true variance, and the standard error of this ratio."""
    estimates = [estimate(seed) for seed in range(1, draws + 1)]
    values = torch.tensor([e.value for e in estimates], dtype=torch.float64)
    claims = torch.tensor([e.standard_error for e in estimates], dtype=torch.float64).square()
    variance = values.var()
    noise = (claims.var() + (values - values.mean()).square().var()).div(draws).sqrt()
    return float(claims.mean() / variance), float(noise / variance)


def agrees(estimate: Callable[[int], Estimate], draws: int) -> bool:
    ratio, noise = claimed_over_true(estimate, draws)
    # A bar of half or twice the length would deviate by far more.
    assert noise < 0.2
    return abs(ratio - 1) < 3 * noise


def test_the_error_of_a_frechet_distance_is_its_spread() -> None:
    real = FeatureStatistics(4)
    real.update(normal(0, 500, 4))

    def estimate(seed: int) -> Estimate:
        blocks = FeatureBlocks(4)
        blocks.update(1.2 * normal(seed, 200, 4) + 0.3, torch.arange(200))
        return frechet_estimate(real, blocks)

    assert agrees(estimate, 150)


def test_the_error_of_a_frechet_distance_is_that_of_its_first_order() -> None:
    # In one dimension the distance is (m - m')^2 + (s - s')^2, with variance (4 (m - m')^2 s^2 + 2 (s - s')^2 s^2) / n.
    real = FeatureStatistics(1)
    real.update(normal(0, 20000, 1))
    blocks = FeatureBlocks(1, 50)
    blocks.update(2.0 * normal(1, 20000, 1) + 1.0, torch.arange(20000))
    found = frechet_estimate(real, blocks)
    # Fifty blocks give the error within a tenth.
    assert found.standard_error == pytest.approx(((4 * 4 + 2 * 4) / 20000) ** 0.5, rel=0.3)


def test_the_error_of_a_kernel_distance_is_its_spread() -> None:
    real = normal(0, 300, 4)
    assert agrees(lambda seed: kernel_distance(real, normal(seed, 150, 4) + 0.8), 300)


def test_the_error_of_a_kernel_distance_is_no_less_than_its_spread_where_both_sides_are_alike() -> None:
    real = normal(0, 300, 4)
    ratio, noise = claimed_over_true(lambda seed: kernel_distance(real, normal(seed, 100, 4)), 300)
    assert 1 - 3 * noise < ratio < 2.5


def test_the_error_of_precision_is_its_spread_and_that_of_recall_no_less_and_not_twice_as_much() -> None:
    real = normal(0, 200, 8)
    shares = {seed: precision_recall(real, normal(seed, 200, 8) + 0.5) for seed in range(1, 121)}
    assert agrees(lambda seed: shares[seed].precision, 120)
    ratio, noise = claimed_over_true(lambda seed: shares[seed].recall, 120)
    assert noise < 0.4 and 1 - 3 * noise < ratio < 4


def test_the_error_of_a_mean_is_its_spread() -> None:
    assert agrees(lambda seed: mean_estimate(normal(seed, 30).exp()), 400)


def test_the_error_of_a_path_length_is_its_spread_also_with_long_tails() -> None:
    assert agrees(lambda seed: path_length_estimate((1.5 * normal(seed, 500)).exp()), 400)


def test_the_error_of_the_unexplained_share_is_its_spread() -> None:
    def estimate(seed: int) -> Estimate:
        # Codes with a large norm have larger errors, so that the two sums are correlated.
        codes, noise = normal(seed, 2, 100, 3)
        codes = 3 * codes * (0.5 * noise[:, :1]).exp() + 50
        return unexplained(codes, codes + 0.3 * (codes - 50) * noise[:, 1:2])

    assert agrees(estimate, 400)


def test_the_error_of_separability_is_its_spread_where_attributes_share_images() -> None:
    def estimate(seed: int) -> Estimate:
        rng = np.random.default_rng(seed)
        predictions = rng.integers(0, 2, 400)
        labels = predictions ^ (rng.random(400) < 0.2)
        kept = (np.arange(300), np.arange(100, 400))
        return separability_estimate([(rows, surprisals(predictions[rows], labels[rows])) for rows in kept], 400)

    assert agrees(estimate, 300)
