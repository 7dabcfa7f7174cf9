"""MS-SSIM against pytorch-msssim, one window computed by hand, and images of known similarity."""

import math

import pytest
import pytorch_msssim
import torch
from torch import Tensor

from alae_core.metrics.ms_ssim import ms_ssim


def images(seed: int, *shape: int) -> Tensor:
    """Noise, uint8, smooth enough that neighbouring pixels are similar."""
    noise = torch.rand(*shape, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.avg_pool2d(noise * 255, 5, 1, 2).round().byte()


@pytest.mark.parametrize("side", [176, 192])
def test_it_equals_pytorch_msssim_where_no_window_shrinks(side: int) -> None:
    a, noise = images(0, 2, 3, side, side), images(1, 2, 3, side, side)
    b = (0.7 * a + 0.3 * noise).byte()
    found = ms_ssim(a, b)
    theirs = pytorch_msssim.ms_ssim(a.double(), b.double(), data_range=255, size_average=False)
    assert 0.3 < found.values.min() and found.values.max() < 0.99
    torch.testing.assert_close(found.values, theirs, rtol=2.5e-6, atol=0)
    assert (found.scales, found.windows) == (5, (11,) * 5)


def test_one_scale_of_eight_pixels_is_ssim_under_one_window() -> None:
    a, b = (images(seed, 1, 1, 8, 8).double() for seed in (0, 1))
    found = ms_ssim(a, b)
    assert (found.scales, found.windows) == (1, (8,))
    line = torch.tensor(
        [math.exp(-((i - 3.5) ** 2) / (2 * (1.5 * 8 / 11) ** 2)) for i in range(8)], dtype=torch.float64
    )
    weight = torch.outer(line, line) / line.sum() ** 2
    x, y = a[0, 0], b[0, 0]
    mx, my = (weight * x).sum(), (weight * y).sum()
    vx, vy, cxy = (weight * (x - mx) ** 2).sum(), (weight * (y - my) ** 2).sum(), (weight * (x - mx) * (y - my)).sum()
    c1, c2 = 2.55**2, 7.65**2
    expected = (2 * mx * my + c1) / (mx**2 + my**2 + c1) * (2 * cxy + c2) / (vx + vy + c2)
    assert float(found.values) == pytest.approx(max(float(expected), 0), rel=1e-9)
    assert float(expected) > 0


@pytest.mark.parametrize(
    ("side", "scales", "windows"),
    [
        (256, 5, (11, 11, 11, 11, 11)),
        (128, 5, (11, 11, 11, 11, 8)),
        (64, 4, (11, 11, 11, 8)),
        (32, 3, (11, 11, 8)),
        (28, 2, (11, 11)),
        (16, 2, (11, 8)),
    ],
)
def test_smaller_images_have_fewer_scales_and_smaller_windows_and_the_result_says_so(side, scales, windows) -> None:
    found = ms_ssim(*(torch.zeros(1, 1, side, side),) * 2)
    assert (found.scales, found.windows) == (scales, windows)


@pytest.mark.parametrize("side", [8, 32, 128])
def test_equal_images_have_similarity_one(side: int) -> None:
    a = images(0, 3, 3, side, side)
    torch.testing.assert_close(ms_ssim(a, a.clone()).values, torch.ones(3, dtype=torch.float64), rtol=1e-12, atol=0)


@pytest.mark.parametrize(("side", "weight"), [(128, 0.1333), (64, 0.2363 / (0.0448 + 0.2856 + 0.3001 + 0.2363))])
def test_constant_images_differ_in_the_luminance_of_the_coarsest_scale_alone(side: int, weight: float) -> None:
    dark, light = (torch.full((1, 3, side, side), value) for value in (50.0, 200.0))
    luminance = (2 * 50 * 200 + 2.55**2) / (50**2 + 200**2 + 2.55**2)
    assert float(ms_ssim(dark, light).values) == pytest.approx(luminance**weight, rel=1e-9)


def test_the_similarity_is_symmetric_and_of_each_pair_alone() -> None:
    a, b = images(0, 3, 3, 64, 64), images(1, 3, 3, 64, 64)
    torch.testing.assert_close(ms_ssim(a, b).values, ms_ssim(b, a).values)
    torch.testing.assert_close(ms_ssim(a, b).values[1:2], ms_ssim(a[1:2], b[1:2]).values)


def test_a_negative_image_has_no_similarity() -> None:
    a = images(0, 1, 1, 64, 64)
    assert float(ms_ssim(a, 255 - a).values) == 0.0


@pytest.mark.parametrize("shapes", [((1, 3, 7, 7), (1, 3, 7, 7)), ((1, 3, 8, 8), (1, 1, 8, 8)), ((3, 8, 8), (3, 8, 8))])
def test_images_too_small_or_of_other_shapes_are_refused(shapes) -> None:
    with pytest.raises(ValueError, match="have no MS-SSIM; give two of one shape"):
        ms_ssim(*(torch.zeros(shape) for shape in shapes))
