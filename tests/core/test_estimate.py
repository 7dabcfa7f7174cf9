"""Estimates against numpy, and comparisons of two estimates."""

import math

import numpy as np
import pytest
import torch

from alae_core.metrics.estimate import Estimate, RunningMean, differ, jackknife_error, mean_estimate, share_estimate


def values(count: int, offset: float = 0.0) -> torch.Tensor:
    return torch.randn(count, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + offset


def test_a_mean_comes_with_the_deviation_over_the_root_of_the_count() -> None:
    x = values(50)
    expected = (np.mean(x.numpy()), np.std(x.numpy(), ddof=1) / 50**0.5)
    found = mean_estimate(x, ("a note",))
    assert (found.value, found.standard_error) == pytest.approx(expected, rel=1e-12)
    assert (found.count, found.notes) == (50, ("a note",))


@pytest.mark.parametrize("offset", [0.0, 1e8])
def test_a_running_mean_is_that_of_all_values_whatever_the_shards(offset: float) -> None:
    x = values(200, offset)
    whole = mean_estimate(x - offset)
    for sizes in ([200], [1, 199], [70, 0, 3, 127]):
        shards = []
        for part in x.split(sizes):
            shards.append(RunningMean())
            shards[-1].update(part[:2])
            shards[-1].update(part[2:])
        for order in (shards, shards[::-1]):
            total = RunningMean()
            for shard in order:
                total.merge(shard)
            found = total.estimate()
            assert found.count == 200
            assert found.value - offset == pytest.approx(whole.value, abs=2e-16 * max(offset, 1) * 10)
            assert found.standard_error == pytest.approx(whole.standard_error, rel=1e-7)


def test_merging_means_leaves_the_other_as_it_was() -> None:
    first, second = RunningMean(), RunningMean()
    second.update(values(5))
    before = second.estimate()
    first.merge(second)
    first.update(values(7))
    assert second.estimate() == before


def test_one_value_has_no_error_and_none_has_no_mean() -> None:
    single = RunningMean()
    single.update(torch.tensor(3.0))
    assert single.estimate() == mean_estimate(torch.tensor([3.0])) == Estimate(3.0, None, 1)
    for empty in (lambda: mean_estimate(torch.empty(0)), RunningMean().estimate):
        with pytest.raises(ValueError, match="no values to take the mean of"):
            empty()


def test_values_that_are_not_finite_are_refused_with_their_number() -> None:
    for update in (mean_estimate, RunningMean().update):
        with pytest.raises(ValueError, match="1 of 3 values are not finite"):
            update(torch.tensor([1.0, float("nan"), 2.0]))


def test_the_error_of_a_share_is_binomial_and_a_clean_sweep_is_no_certainty() -> None:
    hits = torch.tensor([True] * 30 + [False] * 70)
    found = share_estimate(hits)
    expected = math.sqrt((31 / 102) * (71 / 102) / 100)
    assert (found.value, found.standard_error, found.count) == (0.3, pytest.approx(expected, rel=1e-12), 100)
    assert share_estimate(hits[:30]).value == 1.0
    assert (share_estimate(hits[:30]).standard_error or 0) > 0.02


def test_the_jackknife_of_a_mean_is_its_closed_form() -> None:
    parts = values(12)
    without = [(parts.sum() - part) / 11 for part in parts]
    assert jackknife_error(torch.stack(without)) == pytest.approx(float(parts.std()) / 12**0.5, rel=1e-12)
    with pytest.raises(ValueError, match="split the images into at least 2"):
        jackknife_error([1.0])


@pytest.mark.parametrize("sign", [1, -1])
def test_estimates_differ_beyond_two_combined_errors_on_either_side(sign: int) -> None:
    # Errors of 3 and 4 combine to 5, so the bound is 10.
    a = Estimate(100.0, 3.0, 10)
    assert not differ(a, Estimate(100.0 + sign * 9.99, 4.0, 10))
    found = differ(a, Estimate(100.0 + sign * 10.01, 4.0, 10))
    assert found and found.difference == pytest.approx(-sign * 10.01) and found.standard_error == 5.0
    assert not differ(a, Estimate(100.0 + sign * 10.01, 4.0, 10), z=3)


def test_the_finding_is_a_sentence_with_both_estimates_and_the_bound() -> None:
    same = differ(Estimate(12.34, 0.3, 10), Estimate(12.0, 0.4, 10))
    assert same.sentence == "12.34 ± 0.30 and 12.00 ± 0.40 differ by 0.34, within the noise of 2 standard errors, 1"
    assert "more than the noise" in differ(Estimate(20.0, 0.3, 10), Estimate(12.0, 0.4, 10)).sentence


def test_an_estimate_without_an_error_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="no standard error; measure more"):
        differ(Estimate(1.0, None, 1), Estimate(2.0, 0.1, 10))


def test_an_estimate_is_written_to_the_digits_that_its_error_allows() -> None:
    written = [str(Estimate(v, e, 9)) for v, e in ((1234.56, 12.3), (0.123456, 0.00123), (5.0, None), (1.0, 0.0))]
    assert written == ["1235 ± 12", "0.1235 ± 0.0012", "5", "1 ± 0"]
