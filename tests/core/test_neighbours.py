"""Distances and nearest neighbours against plain differences of all pairs."""

import pytest
import torch
from torch import Tensor

from alae_core.metrics import neighbours
from alae_core.metrics.neighbours import distances_by_rows, nearest


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def whole(a: Tensor, b: Tensor) -> Tensor:
    return torch.cat([squared for _, squared in distances_by_rows(a, b)])


def plain(a: Tensor, b: Tensor) -> Tensor:
    return (a.double().unsqueeze(1) - b.double()).square().sum(2)


@pytest.mark.parametrize("chunk", [1, 60, 2**24])
@pytest.mark.parametrize("offset", [0.0, 1e5])
def test_distances_are_those_of_the_differences_also_far_from_the_origin(monkeypatch, chunk, offset) -> None:
    monkeypatch.setattr(neighbours, "CHUNK_NUMBERS", chunk)
    a, b = normal(0, 17, 5) + offset, normal(1, 23, 5) + offset
    torch.testing.assert_close(whole(a, b), plain(a, b), rtol=1e-10, atol=0)


def test_rows_come_in_order_and_none_is_left_out(monkeypatch) -> None:
    monkeypatch.setattr(neighbours, "CHUNK_NUMBERS", 12)
    rows = [rows for rows, _ in distances_by_rows(normal(0, 10, 2), normal(1, 4, 2))]
    assert rows == [slice(0, 3), slice(3, 6), slice(6, 9), slice(9, 10)]


def test_equal_images_have_distance_zero_in_whatever_features() -> None:
    features = normal(2, 40, 300).float() * 37 + 11
    assert (whole(features, features.clone()).diagonal() == 0).all()
    assert (plain(features, features)[~torch.eye(40, dtype=torch.bool)] > 0).all()


@pytest.mark.parametrize("chunk", [40, 2**24])
def test_the_nearest_is_exact_and_the_first_of_equally_near_ones(monkeypatch, chunk) -> None:
    monkeypatch.setattr(neighbours, "CHUNK_NUMBERS", chunk)
    generator = torch.Generator().manual_seed(3)
    # On a small lattice most points have several nearest neighbours, and copies.
    points, among = (torch.randint(0, 4, (n, 3), generator=generator) for n in (200, 90))
    distances = plain(points, among)
    first = (distances == distances.min(1, keepdim=True).values).int().argmax(1)
    assert (distances == distances.min(1, keepdim=True).values).sum(1).max() > 2
    assert torch.equal(nearest(points, among), first)


def test_a_hair_s_breadth_decides_also_beside_far_points() -> None:
    among = torch.tensor([[1.0 + 1e-9, 0.0], [1.0, 0.0], [1e4, 1e4]], dtype=torch.float64)
    assert nearest(torch.zeros(1, 2), among).tolist() == [1]


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((3, 2), (3, 4)), r"\[3, 2\] and \[3, 4\] cannot be compared"),
        (((3,), (3,)), "cannot be compared"),
        (((0, 2), (3, 2)), "set of features is empty"),
    ],
)
def test_sets_that_are_not_two_of_one_width_are_refused(shapes, message) -> None:
    with pytest.raises(ValueError, match=message):
        nearest(*(torch.zeros(shape) for shape in shapes))


def test_features_that_are_not_finite_are_refused_with_their_number() -> None:
    spoilt = torch.zeros(4, 2)
    spoilt[1, 0] = float("inf")
    with pytest.raises(ValueError, match="1 of 4 images are not finite"):
        nearest(spoilt, torch.zeros(2, 2))
