"""Kernel distances against the plain sum over pairs, torch-fidelity, and all samples of a small population."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from alae_core.metrics import kernel
from alae_core.metrics.features import in_order
from alae_core.metrics.kernel import kernel_distance, kernel_distance_of_subsets, mmd2
from alae_core.torchvision_import import torchvision


def normal(seed: int, count: int, dimension: int = 6, shift: float = 0.0) -> Tensor:
    return torch.randn(count, dimension, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift


def k(x: Tensor, y: Tensor) -> float:
    return float(x @ y / len(x) + 1) ** 3


def plain(real: Tensor, generated: Tensor) -> float:
    def mean(pairs: list[tuple[Tensor, Tensor]]) -> float:
        return math.fsum(k(x, y) for x, y in pairs) / len(pairs)

    within = sum(mean(list(itertools.permutations(side, 2))) for side in (real, generated))
    return within - 2 * mean(list(itertools.product(real, generated)))


@pytest.mark.parametrize("chunk", [1, 2**24])
def test_the_distance_is_the_mean_kernel_within_both_sides_less_twice_that_across(monkeypatch, chunk) -> None:
    monkeypatch.setattr(kernel, "CHUNK_NUMBERS", chunk)
    real, generated = normal(0, 7), normal(1, 11, shift=0.3)
    assert mmd2(real, generated) == pytest.approx(plain(real, generated), rel=1e-12)
    assert kernel_distance(real, generated).value == pytest.approx(plain(real, generated), rel=1e-12)


def test_the_distance_equals_torch_fidelity_s_in_double_precision() -> None:
    torchvision()
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric

    real, generated = normal(0, 60, 40), normal(1, 60, 40, shift=0.05)
    theirs = kid_features_to_metric(generated, real, kid_subsets=1, kid_subset_size=60, verbose=False)
    assert kernel_distance(real, generated).value == pytest.approx(theirs[KEY_METRIC_KID_MEAN], rel=1e-10)


def test_the_estimate_is_unbiased_over_every_sample_of_a_small_population() -> None:
    p, q = normal(0, 3, 2), normal(1, 4, 2, shift=0.5)

    def population(a: Tensor, b: Tensor) -> float:
        return math.fsum(k(x, y) for x in a for y in b) / (len(a) * len(b))

    exact = population(p, p) + population(q, q) - 2 * population(p, q)
    draws = itertools.product(itertools.product(range(3), repeat=2), itertools.product(range(4), repeat=3))
    estimates = [mmd2(p[list(real)], q[list(generated)]) for real, generated in draws]
    assert math.fsum(estimates) / len(estimates) == pytest.approx(exact, rel=1e-12)


def test_two_samples_of_one_distribution_are_apart_by_no_more_than_noise_and_on_either_side() -> None:
    estimates = torch.tensor([mmd2(normal(seed, 40), normal(1000 + seed, 40)) for seed in range(200)])
    assert (estimates < 0).any()
    assert abs(estimates.mean()) < 3 * estimates.std() / 200**0.5


def test_the_error_is_the_jackknife_that_leaves_each_generated_image_out() -> None:
    real, generated = normal(0, 9), normal(1, 12, shift=0.4)
    without = torch.tensor(
        [mmd2(real, torch.cat([generated[:i], generated[i + 1 :]])) for i in range(12)], dtype=torch.float64
    )
    expected = math.sqrt(11 / 12 * float((without - without.mean()).square().sum()))
    assert kernel_distance(real, generated).standard_error == pytest.approx(expected, rel=1e-9)


def test_a_common_offset_costs_no_digits() -> None:
    real, generated = normal(0, 8, shift=100.0), normal(1, 8, shift=100.5)
    assert mmd2(real, generated) == pytest.approx(plain(real, generated), rel=1e-8)


def test_a_subset_of_the_size_of_the_sets_is_the_whole_estimate_with_its_error() -> None:
    real, generated = normal(0, 30), normal(1, 30, shift=0.2)
    whole = kernel_distance(real, generated)
    found = kernel_distance_of_subsets(real, generated, subsets=3, subset_size=30)
    assert found.value == pytest.approx(whole.value, rel=1e-12)
    assert found.standard_error == pytest.approx(whole.standard_error, rel=1e-9)


def test_subsets_scatter_about_the_whole_estimate_by_the_standard_error() -> None:
    real, generated = normal(0, 50), normal(1, 60, shift=0.4)
    whole = kernel_distance(real, generated)
    runs = [kernel_distance_of_subsets(real, generated, subsets=10, subset_size=20, seed=seed) for seed in range(60)]
    means = torch.tensor([run.value for run in runs], dtype=torch.float64)
    added = torch.tensor([run.standard_error**2 - whole.standard_error**2 for run in runs])
    assert abs(means.mean() - whole.value) < 3 * means.std() / 60**0.5
    # A variance estimated from sixty runs has a relative error of about a fifth.
    assert added.mean() == pytest.approx(float(means.var()), rel=0.6)


def test_subsets_are_named_by_the_seed_and_do_not_depend_on_who_computed_the_features() -> None:
    real, generated = normal(0, 50), normal(1, 60)
    dealt = in_order([(torch.arange(60)[part::3], generated[part::3]) for part in (2, 0, 1)])
    first, again, other = (
        kernel_distance_of_subsets(real, features, subsets=4, subset_size=20, seed=seed)
        for features, seed in ((generated, 5), (dealt, 5), (generated, 6))
    )
    assert first == again
    assert first.value != other.value


def test_the_global_generator_is_not_touched() -> None:
    before = torch.get_rng_state()
    kernel_distance_of_subsets(normal(0, 5), normal(1, 5), subsets=2, subset_size=3)
    assert torch.equal(torch.get_rng_state(), before)


def test_sets_too_small_are_refused_with_the_way_out() -> None:
    with pytest.raises(
        ValueError, match=r"8 real and 5 generated images are too few .* over 6 .* make the subsets smaller"
    ):
        kernel_distance_of_subsets(normal(0, 8), normal(1, 5), subset_size=6)
    with pytest.raises(ValueError, match="1 real and 5 generated images are too few"):
        mmd2(normal(0, 1), normal(1, 5))
    with pytest.raises(ValueError, match="2 generated images have no kernel distance"):
        kernel_distance(normal(0, 5), normal(1, 2))
    with pytest.raises(ValueError, match="subsets=0 of subset_size=3"):
        kernel_distance_of_subsets(normal(0, 8), normal(1, 5), subsets=0, subset_size=3)
