"""Path lengths of generators whose every step is known."""

import math

import pytest
import torch
from torch import Tensor

from alae_core.metrics.path_length import filtered_mean, lerp, path_lengths, slerp


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
    # Of 0 to 99 the percentiles lie at 0.99 and 98.01: "lower" is 0, "higher" 99.
    assert filtered_mean(torch.arange(100.0)) == 49.5
    assert filtered_mean(torch.arange(101.0)) == 50.0
    assert filtered_mean(torch.cat([torch.arange(101.0), torch.tensor([1e6])])) == pytest.approx(50.5, abs=1.1)
