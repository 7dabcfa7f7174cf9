"""Path lengths of generators with known step lengths."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from alae_core.metrics.estimate import mean_estimate
from alae_core.metrics.path_length import (
    comparable,
    filtered_mean,
    lerp,
    path_length_estimate,
    path_lengths,
    positions,
    slerp,
)


def squared(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).flatten(1).square().sum(1)


def codes(count: int = 50, dimension: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, count, dimension, generator=generator, dtype=torch.float64)
    return a, b, torch.rand(count, generator=generator, dtype=torch.float64)


def test_the_length_of_a_linear_generator_is_the_squared_length_of_the_whole_way() -> None:
    a, b, t = codes()
    matrix = torch.randn(7, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = path_lengths(lambda w: w @ matrix.T, squared, a, b, t)
    torch.testing.assert_close(found, ((b - a) @ matrix.T).square().sum(1), rtol=1e-6, atol=0)


def test_the_length_on_the_sphere_is_the_squared_angle_wherever_it_is_taken() -> None:
    a, b, t = codes()
    angle = torch.acos(torch.cosine_similarity(a, b))
    for place in (t, torch.zeros_like(t)):
        found = path_lengths(lambda z: z, squared, a, b, place, interpolate=slerp)
        torch.testing.assert_close(found, angle.square(), rtol=1e-5, atol=0)


def test_the_great_circle_has_unit_length_and_its_ends_in_the_directions_of_the_codes() -> None:
    a, b, t = codes()
    torch.testing.assert_close(slerp(a, b, t).norm(dim=1), torch.ones(50, dtype=torch.float64))
    for code, end in ((a, torch.zeros_like(t)), (b, torch.ones_like(t))):
        torch.testing.assert_close(slerp(3 * a, b, end), code / code.norm(dim=1, keepdim=True))
    right = torch.eye(2, dtype=torch.float64)
    middle = slerp(right[:1], right[1:], torch.tensor([0.5], dtype=torch.float64))
    torch.testing.assert_close(middle, torch.full((1, 2), math.sqrt(0.5), dtype=torch.float64))


def test_the_straight_line_is_weighed_by_each_path_s_own_place() -> None:
    a, b, t = codes()
    torch.testing.assert_close(lerp(a, b, t)[3], (1 - t[3]) * a[3] + t[3] * b[3])


def test_the_step_s_length_does_not_matter_to_a_linear_generator() -> None:
    a, b, t = codes()
    coarse, fine = (path_lengths(lambda w: w, squared, a, b, t, epsilon=e) for e in (1e-1, 1e-4))
    torch.testing.assert_close(coarse, fine, rtol=1e-6, atol=0)


@pytest.mark.parametrize("outlier", [1e9, -1e9])
def test_lengths_outside_the_first_and_last_percentile_are_left_out(outlier: float) -> None:
    lengths = torch.arange(1000.0)
    assert filtered_mean(lengths) == pytest.approx(499.5)
    spoilt = lengths.clone()
    spoilt[500] = outlier
    assert abs(filtered_mean(spoilt) - 499.5) < 2


def test_the_percentiles_themselves_are_kept() -> None:
    # The percentiles of the values 0 to 99 are 0.99 and 98.01: "lower" gives 0 and "higher" gives 99.
    assert filtered_mean(torch.arange(100.0)) == 49.5
    assert filtered_mean(torch.arange(101.0)) == 50.0
    assert filtered_mean(torch.cat([torch.arange(101.0), torch.tensor([1e6])])) == pytest.approx(50.5, abs=1.1)


@pytest.mark.parametrize("count", [2, 57, 100, 101, 1000, 4321])
def test_the_filter_is_numpy_s_percentiles_with_lower_and_higher(count: int) -> None:
    lengths = torch.randn(count, generator=torch.Generator().manual_seed(count), dtype=torch.float64).exp()
    low, high = (np.percentile(lengths, q, method=m) for q, m in ((1, "lower"), (99, "higher")))
    kept = lengths[(lengths >= low) & (lengths <= high)]
    assert filtered_mean(lengths) == pytest.approx(float(kept.mean()), rel=1e-12)


def test_a_linear_generator_s_mean_length_between_normal_codes_is_twice_its_squared_norm() -> None:
    a, b, t = codes(4000)
    matrix = torch.randn(7, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for sampling in ("full", "end"):
        found = mean_estimate(path_lengths(lambda w: w @ matrix.T, squared, a, b, positions(t, sampling)))
        assert abs(found.value - 2 * float(matrix.square().sum())) < 3 * (found.standard_error or 0)


def test_the_full_length_is_taken_anywhere_and_that_of_the_end_at_the_start() -> None:
    # The squared speed of w^2 from 0 to 1 is 4 t^2: its mean is 4/3, and it is nearly 0 at the start.
    a, b, t = torch.zeros(20000, 1), torch.ones(20000, 1), torch.linspace(0, 1, 20000, dtype=torch.float64)
    for sampling, expected in (("full", 4 / 3), ("end", 0.0)):
        place = positions(t, sampling)
        lengths = path_lengths(lambda w: w**2, squared, a.double(), b.double(), place)
        assert float(lengths.mean()) == pytest.approx(expected, abs=1e-3)


def test_rounding_the_images_to_bytes_would_measure_the_rounding() -> None:
    a, b, t = codes(2000)

    def rounded(w: Tensor) -> Tensor:
        return (w * 127.5).round() / 127.5

    exact, spoilt = (path_lengths(g, squared, a, b, t).mean() for g in (lambda w: w, rounded))
    assert spoilt > 10 * exact


def test_the_estimate_is_the_filtered_mean_with_the_deviation_of_the_clamped_lengths() -> None:
    lengths = torch.arange(101.0)
    found = path_length_estimate(lengths.flip(0))
    deviation = np.std([1, *range(1, 100), 99], ddof=1)
    assert (found.value, found.count) == (50.0, 101)
    assert found.standard_error == pytest.approx(deviation / (0.98 * 101**0.5), rel=1e-12)
    for bad in (lengths[:1], torch.tensor([1.0, float("nan")])):
        with pytest.raises(ValueError, match="have no trimmed mean"):
            path_length_estimate(bad)


def places(height: int, width: int) -> Tensor:
    """Images whose two channels hold the row and the column of each pixel."""
    rows, columns = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    return torch.stack([rows, columns]).unsqueeze(0)


def test_the_face_is_the_lower_middle() -> None:
    rows, columns = comparable(places(64, 64), "face")[0]
    assert rows.shape == (32, 32)
    assert (rows[0, 0], rows[-1, 0], columns[0, 0], columns[0, -1]) == (24, 55, 16, 47)


def test_the_celeba_crop_is_a_square_about_five_eighths_of_the_height() -> None:
    rows, columns = comparable(places(128, 128), "celeba")[0]
    assert rows.shape == (78, 78)
    assert (rows.mean(), columns.mean()) == (pytest.approx(80, abs=1), pytest.approx(64, abs=1))


def test_images_above_256_pixels_are_box_averaged_after_the_crop() -> None:
    assert torch.equal(comparable(places(256, 256)), places(256, 256))
    small = comparable(places(1024, 1024), "face")[0]
    assert small.shape == (2, 256, 256)
    assert (small[0, 0, 0], small[1, 0, 0]) == (384.5, 256.5)
    with pytest.raises(ValueError, match="300 px after the crop do not shrink evenly"):
        comparable(places(300, 300))
