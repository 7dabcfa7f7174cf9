"""Scores of label distributions with known divergence, and agreement with torch-fidelity."""

import math

import pytest
import torch
from torch import Tensor

from alae_core.metrics.inception_score import LabelStatistics, conditional_inception_score, inception_score
from alae_core.torchvision_import import torchvision


def gather(*parts: Tensor) -> LabelStatistics:
    statistics = LabelStatistics(parts[0].shape[1])
    for part in parts:
        statistics.update(part)
    return statistics


def logits(count: int, classes: int = 12) -> Tensor:
    return 3 * torch.randn(count, classes, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_images_that_are_sure_and_of_every_class_score_the_number_of_classes() -> None:
    assert inception_score([gather(torch.eye(7).repeat(4, 1))]).value == pytest.approx(7.0, rel=1e-12)


def test_images_that_are_all_alike_score_one() -> None:
    for one in (torch.eye(5)[:1], torch.full((1, 5), 0.2), torch.tensor([[0.5, 0.3, 0.2, 0.0, 0.0]])):
        found = inception_score([gather(one.expand(9, -1))])
        assert found.value == pytest.approx(1.0, abs=1e-6)


def test_the_divergence_is_the_mean_over_images_from_their_mean() -> None:
    p = logits(40).softmax(1)
    expected = (p * (p / p.mean(0)).log()).sum(1).mean()
    assert gather(p).divergence == pytest.approx(float(expected), rel=1e-12)


def test_the_score_over_splits_equals_torch_fidelity_s() -> None:
    torchvision()
    from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, KEY_METRIC_ISC_STD, isc_features_to_metric

    drawn = logits(200)
    found = inception_score([gather(part) for part in drawn.softmax(1).split(20)])
    theirs = isc_features_to_metric(drawn, splits=10, shuffle=False)
    assert found.value == pytest.approx(theirs[KEY_METRIC_ISC_MEAN], rel=1e-12)
    # torch-fidelity reports the standard deviation of the splits, we report that of their mean.
    assert found.standard_error == pytest.approx(theirs[KEY_METRIC_ISC_STD] / 9**0.5, rel=1e-9)
    assert found.count == 200
    assert inception_score([gather(drawn.softmax(1))]).standard_error is None


def test_shards_merge_to_one_pass() -> None:
    p = logits(100).softmax(1)
    whole, merged = gather(p), gather(p[:33])
    merged.merge(gather(p[33:40], p[40:]))
    assert merged.count == whole.count == 100
    assert merged.divergence == pytest.approx(whole.divergence, rel=1e-12)


def test_an_input_whose_outputs_split_between_two_modes_scores_ln_2_and_a_deterministic_one_nothing() -> None:
    modes = torch.eye(4)
    both = gather(modes[[0, 1] * 10])
    never = gather(modes[[3] * 20])
    assert conditional_inception_score([both, both]).value == pytest.approx(math.log(2), rel=1e-12)
    found = conditional_inception_score([both, never])
    assert (found.value, found.count) == (pytest.approx(math.log(2) / 2, rel=1e-12), 2)
    assert found.standard_error == pytest.approx(math.log(2) / 2, rel=1e-12)


def test_what_is_no_distribution_is_refused() -> None:
    for bad in (torch.tensor([[0.5, 0.6]]), torch.tensor([[-0.5, 1.5]]), torch.tensor([[float("nan"), 1.0]])):
        with pytest.raises(ValueError, match="sum to 1 for every image; apply a softmax"):
            gather(bad)
    with pytest.raises(ValueError, match=r"shape \[3, 2\], expected \[N, 4\]"):
        LabelStatistics(4).update(torch.full((3, 2), 0.5))
    with pytest.raises(ValueError, match="of 4 and of 3 classes cannot be merged"):
        LabelStatistics(4).merge(LabelStatistics(3))
    with pytest.raises(ValueError, match="classes=1 leave nothing to distinguish"):
        LabelStatistics(1)
    with pytest.raises(ValueError, match="no probabilities"):
        inception_score([LabelStatistics(2)])
    with pytest.raises(ValueError, match="no splits"):
        inception_score([])
