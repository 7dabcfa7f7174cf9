"""The error bar of a Fréchet distance: independent of the sharding of images and equal to a plain jackknife's."""

import math
from collections.abc import Iterable

import pytest
import torch
from torch import Tensor

from alae_core.metrics.frechet import FeatureStatistics, frechet_distance
from alae_core.metrics.frechet_blocks import FeatureBlocks, frechet_estimate


def normal(seed: int, count: int, dimension: int = 6, scale: float = 1.0) -> Tensor:
    return torch.randn(count, dimension, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale


def gather(features: Tensor) -> FeatureStatistics:
    statistics = FeatureStatistics(features.shape[1])
    statistics.update(features)
    return statistics


def blocks_of(features: Tensor, numbers: Iterable[Tensor], blocks: int = 5) -> FeatureBlocks:
    """The merged blocks of several workers, each with the features of one entry of `numbers`."""
    whole = FeatureBlocks(features.shape[1], blocks)
    for part in numbers:
        worker = FeatureBlocks(features.shape[1], blocks)
        for batch in part.split(7):
            worker.update(features[batch], batch)
        whole.merge(worker)
    return whole


def test_the_estimate_does_not_depend_on_the_workers_nor_on_the_order_of_the_images() -> None:
    real, features = gather(normal(0, 300)), normal(1, 83, scale=1.3) + 100
    order = torch.arange(83)
    one = frechet_estimate(real, blocks_of(features, [order]))
    for numbers in ([order[60:], order[:60]], [order[k::3] for k in range(3)], [order.flip(0)]):
        found = frechet_estimate(real, blocks_of(features, numbers))
        assert (found.value, found.standard_error) == pytest.approx((one.value, one.standard_error), rel=1e-9)


@pytest.mark.parametrize(("count", "dimension"), [(83, 6), (40, 24)])
def test_value_and_error_are_the_distance_s_and_those_of_a_jackknife_over_blocks(count, dimension) -> None:
    real, features = gather(normal(0, 300, dimension)), normal(1, count, dimension, scale=1.3)
    found = frechet_estimate(real, blocks_of(features, [torch.arange(count)]))
    assert found.value == pytest.approx(frechet_distance(real, gather(features)), rel=1e-10)
    block = torch.arange(count) % 5
    without = torch.tensor(
        [frechet_distance(real, gather(features[block != b])) for b in range(5)], dtype=torch.float64
    )
    expected = math.sqrt(4 / 5 * float((without - without.mean()).square().sum()))
    assert found.standard_error == pytest.approx(expected, rel=1e-5)
    assert found.count == count


def test_the_estimate_notes_fewer_images_than_features_and_says_nothing_otherwise() -> None:
    real = gather(normal(0, 300, 24))
    few, enough = (frechet_estimate(real, blocks_of(normal(1, n, 24), [torch.arange(n)])) for n in (20, 60))
    assert (len(few.notes), enough.notes) == (1, ())
    assert "20 images are fewer than the 24 features" in few.notes[0]


def test_blocks_survive_their_state_dict() -> None:
    features = normal(2, 50)
    blocks = blocks_of(features[:30], [torch.arange(30)])
    restored = FeatureBlocks.from_state_dict(blocks.state_dict())
    for part in (blocks, restored):
        part.update(features[30:], torch.arange(30, 50))
    assert all(torch.equal(a.covariance, b.covariance) for a, b in zip(blocks.blocks, restored.blocks, strict=True))


def test_what_cannot_be_counted_or_merged_is_refused() -> None:
    with pytest.raises(ValueError, match="blocks=1 leave nothing to compare"):
        FeatureBlocks(3, 1)
    with pytest.raises(ValueError, match="in 5 and in 4 blocks cannot be merged"):
        FeatureBlocks(3, 5).merge(FeatureBlocks(3, 4))
    with pytest.raises(ValueError, match="2 features came with 3 image numbers"):
        FeatureBlocks(3).update(torch.zeros(2, 3), torch.arange(3))
    with pytest.raises(ValueError, match="4 generated images are too few for 5 blocks"):
        frechet_estimate(gather(normal(0, 9)), blocks_of(normal(1, 4), [torch.arange(4)]))
