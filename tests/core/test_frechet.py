"""Fréchet distance against an independent float64 formula, and the statistics on which it is based."""

import pickle

import numpy as np
import pytest
import scipy.linalg
import torch

from alae_core.images import to_float
from alae_core.metrics.classifier import Classifier
from alae_core.metrics.frechet import FeatureStatistics, bias_notes, frechet_distance
from alae_core.torchvision_import import torchvision


def gather(features: torch.Tensor, *sizes: int) -> FeatureStatistics:
    statistics = FeatureStatistics(features.shape[1])
    for batch in features.split(list(sizes)) if sizes else (features,):
        statistics.update(batch)
    return statistics


def correlated(seed: int, count: int, dimension: int, shift: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(dimension, dimension, generator=generator, dtype=torch.float64)
    return torch.randn(count, dimension, generator=generator, dtype=torch.float64) @ mixing + shift


def reference_distance(x: torch.Tensor, y: torch.Tensor) -> float:
    """The distance computed from the data: tr (A B)^(1/2) is the nuclear norm of X_c Y_c^T, without a matrix root."""
    a, b = x.numpy(), y.numpy()
    a_centred = (a - a.mean(0)) / np.sqrt(len(a) - 1)
    b_centred = (b - b.mean(0)) / np.sqrt(len(b) - 1)
    nuclear = np.linalg.svd(a_centred @ b_centred.T, compute_uv=False).sum()
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + (a_centred**2).sum() + (b_centred**2).sum() - 2 * nuclear)


@pytest.mark.parametrize(("count_a", "count_b"), [(300, 400), (20, 400), (20, 30), (2, 2)])
def test_the_distance_equals_the_nuclear_norm_formula_also_when_covariances_lack_rank(count_a, count_b):
    x, y = correlated(1, count_a, 64), correlated(2, count_b, 64, shift=0.5)
    assert frechet_distance(gather(x), gather(y)) == pytest.approx(reference_distance(x, y), rel=1e-9)


def seeded_features(count: int, seed: int, brightness: int) -> torch.Tensor:
    """Features float32 [count, 64] of a classifier with seeded weights.

    Like Inception's, they are never negative, and some of them are always zero.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        classifier = Classifier(16, 3, 10).eval()
    pixels = torch.randint(0, brightness, (count, 16, 16, 3), generator=torch.Generator().manual_seed(seed)).byte()
    with torch.no_grad():
        return classifier.features(to_float(pixels))


def test_the_distance_of_a_network_s_features_equals_torch_fidelity_s_and_the_matrix_root() -> None:
    torchvision()
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

    x, y = seeded_features(300, 1, 256), seeded_features(200, 2, 200)
    ours = frechet_distance(gather(x, 100, 200), gather(y))
    # torch-fidelity computes the covariance in the precision of the features.
    for precision, tolerance in ((torch.float32, 2e-6), (torch.float64, 1e-10)):
        sides = [fid_features_to_statistics(part.to(precision)) for part in (x, y)]
        assert fid_statistics_to_metric(*sides, verbose=False)[KEY_METRIC_FID] == pytest.approx(ours, rel=tolerance)

    alive = ((x > 0).any(0) & (y > 0).any(0)).nonzero().flatten()
    a, b = (np.cov(part[:, alive].double().numpy().T) for part in (x, y))
    dead = frechet_distance(*(gather(part.index_fill(1, alive, 0.0)) for part in (x, y)))
    gap = (x.double().mean(0) - y.double().mean(0))[alive].square().sum()
    root = scipy.linalg.sqrtm(a @ b)
    assert ours == pytest.approx(dead + float(gap) + np.trace(a + b - 2 * root).real, rel=1e-9)


def test_features_that_are_always_zero_change_nothing():
    x, y = correlated(1, 200, 16), correlated(2, 200, 16)
    widened = [torch.cat([part, torch.zeros(200, 8, dtype=part.dtype)], 1) for part in (x, y)]
    expected = frechet_distance(gather(x), gather(y))
    assert frechet_distance(*map(gather, widened)) == pytest.approx(expected, rel=1e-12)


def test_an_offset_common_to_both_sets_changes_nothing():
    x, y = correlated(1, 300, 32), correlated(2, 300, 32, shift=0.3)
    expected = frechet_distance(gather(x), gather(y))
    assert frechet_distance(gather(x + 1e4), gather(y + 1e4)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("count", [10, 500])
def test_the_distance_to_itself_is_zero_to_rounding(count):
    statistics = gather(correlated(3, count, 48))
    assert 0 <= frechet_distance(statistics, statistics) < 1e-11 * float(statistics.covariance.trace())


def test_the_distance_is_symmetric():
    a, b = gather(correlated(1, 40, 64)), gather(correlated(2, 90, 64, shift=1.0))
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-12)


def test_in_one_dimension_it_is_the_squared_gap_of_means_plus_that_of_deviations():
    x, y = torch.tensor([[0.0], [2.0], [4.0]]), torch.tensor([[10.0], [11.0], [12.0]])
    assert frechet_distance(gather(x), gather(y)) == pytest.approx((2 - 11) ** 2 + (2 - 1) ** 2, rel=1e-12)


def test_constant_features_are_as_far_apart_as_their_means():
    a, b = gather(torch.zeros(5, 3)), gather(torch.full((5, 3), 2.0))
    assert frechet_distance(a, b) == pytest.approx(12.0, rel=1e-12)


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_merged_uneven_shards_equal_one_pass(offset):
    features = correlated(4, 233, 24, shift=offset)
    whole = gather(features)
    # Each shard has several batches, so that its sum about a pivot is not zero.
    shards = [gather(part, 1, len(part) - 1) for part in features.split([2, 3, 148, 80])]
    merged = FeatureStatistics(24)
    for shard in shards:
        merged.merge(shard)
    scale = float(whole.covariance.abs().max())
    assert merged.count == 233
    torch.testing.assert_close(merged.mean, whole.mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(merged.covariance, whole.covariance, rtol=0, atol=1e-12 * scale)


def test_mean_and_covariance_equal_numpy():
    features = correlated(5, 100, 12, shift=3.0)
    statistics = gather(features, 1, 60, 39)
    np.testing.assert_allclose(statistics.mean, features.numpy().mean(0), rtol=1e-12)
    np.testing.assert_allclose(statistics.covariance, np.cov(features.numpy().T), rtol=1e-11, atol=1e-11)


def test_what_is_taken_out_again_leaves_the_rest() -> None:
    features = correlated(10, 120, 9, shift=1e3)
    whole, part, rest = gather(features), gather(features[40:90]), gather(torch.cat([features[:40], features[90:]]))
    found = whole.without(part)
    assert (found.count, whole.count) == (70, 120)
    torch.testing.assert_close(found.mean, rest.mean, rtol=1e-12, atol=0)
    torch.testing.assert_close(found.covariance, rest.covariance, rtol=1e-10, atol=1e-10)


def test_fewer_images_than_features_are_noted_for_each_side_that_has_them() -> None:
    few, enough = gather(correlated(11, 7, 8)), gather(correlated(12, 8, 8))
    (note,) = bias_notes(enough, few)
    assert note == "7 images are fewer than the 8 features, which biases the distance upwards"
    assert (len(bias_notes(few, few)), bias_notes(enough, enough)) == (2, ())


def test_merging_leaves_the_other_untouched():
    first, second = FeatureStatistics(4), gather(correlated(6, 10, 4))
    first.merge(second)
    before = second.covariance
    first.update(correlated(7, 10, 4))
    assert second.count == 10
    assert torch.equal(second.covariance, before)


def test_float32_features_are_summed_in_float64():
    features = correlated(8, 500, 8).float() + 1000
    np.testing.assert_allclose(gather(features).covariance, np.cov(features.double().numpy().T), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    "copy", [lambda s: pickle.loads(pickle.dumps(s)), lambda s: type(s).from_state_dict(s.state_dict())]
)
def test_statistics_survive_pickling_and_their_state_dict(copy):
    features = correlated(9, 50, 6)
    statistics, expected = gather(features[:30]), gather(features, 30, 20)
    restored = copy(statistics)
    restored.update(features[30:])
    assert torch.equal(restored.covariance, expected.covariance)
    assert statistics.count == 30
    assert torch.equal(statistics.covariance, gather(features[:30]).covariance)


def test_a_state_with_other_keys_is_refused():
    state = gather(correlated(9, 50, 6)).state_dict()
    del state["pivot"]
    with pytest.raises(ValueError, match=r"expected .*pivot"):
        FeatureStatistics.from_state_dict(state)


def test_different_dimensions_are_refused_with_the_way_out():
    a, b = gather(torch.rand(9, 3)), gather(torch.rand(9, 4))
    with pytest.raises(ValueError, match=r"3 and 4 differ; .* same extractor"):
        frechet_distance(a, b)
    with pytest.raises(ValueError, match="3 and 4 differ"):
        a.merge(b)


def test_a_single_image_has_no_distance():
    with pytest.raises(ValueError, match="hold 1 images, at least 2"):
        frechet_distance(gather(torch.rand(1, 3)), gather(torch.rand(9, 3)))


def test_features_that_are_not_finite_are_refused_with_their_number():
    features = torch.rand(5, 3)
    features[1, 2] = features[4, 0] = float("nan")
    with pytest.raises(ValueError, match="2 of 5 images are not finite"):
        gather(features)


def test_features_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"shape \[5, 4\], expected \[N, 3\]"):
        FeatureStatistics(3).update(torch.rand(5, 4))
