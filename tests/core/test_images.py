"""Pixels: conversion to floats and back, the pyramid's halving, blended reals and mirroring."""

import numpy as np
import pytest
import torch
from PIL import Image

from alae_core import images


def ramp() -> torch.Tensor:
    return torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1)


def test_all_256_values_survive_the_way_to_floats_and_back() -> None:
    assert torch.equal(images.to_uint8(images.to_float(ramp())), ramp())


def test_floats_run_from_minus_one_to_one_channels_first() -> None:
    floats = images.to_float(torch.tensor([[[[0, 51, 255]]]], dtype=torch.uint8))
    assert floats.shape == (1, 3, 1, 1) and floats.dtype == torch.float32
    torch.testing.assert_close(floats.flatten(), torch.tensor([-1.0, -0.6, 1.0]))


def test_bytes_are_rounded_and_clipped() -> None:
    floats = torch.tensor([-3.0, -1.0, 0.4 / 127.5 - 1, 0.6 / 127.5 - 1, 1.0, 7.0]).view(1, 1, 1, 6)
    assert images.to_uint8(floats).flatten().tolist() == [0, 0, 0, 1, 255, 255]


def test_the_official_bytes_are_the_floor_of_127_times_the_distance_from_black() -> None:
    floats = torch.tensor([-3.0, -1.0, 0.99 / 127 - 1, 1.01 / 127 - 1, 0.0, 1.0, 7.0]).view(1, 1, 1, 7)
    assert images.to_uint8_floored(floats).flatten().tolist() == [0, 0, 0, 1, 127, 254, 255]
    assert images.to_uint8_floored(floats).shape == images.to_uint8(floats).shape == (1, 1, 7, 1)


def test_halving_is_the_rounded_mean_of_each_block_for_every_sum() -> None:
    rng = np.random.default_rng(0)
    fine = rng.integers(0, 256, (3, 8, 6, 2), np.uint8)
    fine[0, :2, :2] = 255
    coarse = images.box_halve(fine)
    assert coarse.shape == (3, 4, 3, 2) and coarse.dtype == np.uint8
    for n, y, x, c in np.ndindex(coarse.shape):
        block = fine[n, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2, c].astype(int)
        assert coarse[n, y, x, c] == (block.sum() + 2) // 4


def test_a_blend_of_one_is_the_image_and_of_zero_its_blocks_means() -> None:
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(images.blend_with_coarser(x, 1.0), x)
    means = x.reshape(2, 3, 4, 2, 4, 2).mean((3, 5)).repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(images.blend_with_coarser(x, 0.0), means)
    torch.testing.assert_close(images.blend_with_coarser(x, 0.3), 0.3 * x + 0.7 * means)


def test_images_with_a_chance_below_one_half_are_mirrored_left_to_right() -> None:
    x = torch.arange(12.0).view(3, 1, 2, 2)
    flipped = images.flip_some(x, torch.tensor([0.49, 0.5, 0.0]))
    assert flipped.flatten(1).tolist() == [[1, 0, 3, 2], [4, 5, 6, 7], [9, 8, 11, 10]]


def reference_shift(image: np.ndarray, down: int, right: int, most: int) -> np.ndarray:
    """Shift by padding and cropping; a positive shift shows pixels from further down and right."""
    padded = np.pad(image, ((0, 0), (most, most), (most, most)), mode="reflect")
    side = image.shape[1]
    return padded[:, most + down : most + down + side, most + right : most + right + side]


@pytest.mark.parametrize(("side", "share", "most"), [(8, 0.25, 2), (8, 0.49, 3), (16, 0.1, 1)])
def test_a_shift_is_a_crop_of_the_image_padded_by_reflection(side: int, share: float, most: int) -> None:
    steps = 2 * most + 1
    chance = torch.cartesian_prod(*[(torch.arange(steps) + 0.5) / steps] * 2)
    x = torch.randn(len(chance), 3, side, side, generator=torch.Generator().manual_seed(0))
    shifted = images.shift(x, chance, share)
    for image, place, found in zip(x, chance, shifted, strict=True):
        down, right = ((place * steps).int() - most).tolist()
        np.testing.assert_array_equal(found, reference_shift(image.numpy(), down, right, most))


def test_the_least_and_the_greatest_chance_shift_as_far_as_may_be_and_the_middle_not_at_all() -> None:
    x = torch.arange(64.0).view(1, 1, 8, 8).expand(3, 1, 8, 8)
    chance = torch.tensor([[0.0, 0.0], [0.5, 0.5], [1 - 2**-24, 1 - 2**-24]])
    least, middle, greatest = images.shift(x, chance, 0.25)
    assert torch.equal(middle, x[1])
    assert torch.equal(least[:, 2:, 2:], x[0][:, :-2, :-2])
    assert torch.equal(greatest[:, :-2, :-2], x[2][:, 2:, 2:])


def test_images_too_small_for_a_shift_of_one_pixel_stay_where_they_are() -> None:
    x = torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(images.shift(x, torch.rand(5, 2, generator=torch.Generator().manual_seed(1)), 0.24), x)


def enlarged(image: np.ndarray, side: int) -> np.ndarray:
    """Enlarge an image bilinearly with Pillow, [C, R, R] -> [C, side, side]."""
    planes = [Image.fromarray(plane).resize((side, side), Image.Resampling.BILINEAR) for plane in image]
    return np.stack([np.asarray(plane) for plane in planes])


@pytest.mark.parametrize(("side", "factor", "larger"), [(8, 1.5, 12), (16, 1.117, 18), (64, 1.117, 71)])
def test_a_cut_is_a_square_of_whole_pixels_of_the_bilinearly_enlarged_image(
    side: int, factor: float, larger: int
) -> None:
    steps = larger - side + 1
    chance = torch.cartesian_prod(*[(torch.arange(steps) + 0.5) / steps] * 2)
    x = torch.randn(len(chance), 3, side, side, generator=torch.Generator().manual_seed(0))
    for image, place, found in zip(x, chance, images.cut_from_enlarged(x, chance, factor), strict=True):
        top, left = (place * steps).int().tolist()
        expected = enlarged(image.numpy(), larger)[:, top : top + side, left : left + side]
        np.testing.assert_allclose(found, expected, atol=1e-3)


def test_cyclegans_286_to_256_pixels_is_one_of_the_factors() -> None:
    x = torch.randn(1, 1, 256, 256, generator=torch.Generator().manual_seed(0))
    (last,) = images.cut_from_enlarged(x, torch.tensor([[1 - 2**-24, 1 - 2**-24]]), 1.117)
    np.testing.assert_allclose(last[0], enlarged(x[0].numpy(), 286)[0, 30:, 30:], atol=1e-3)


def test_a_nearly_constant_cut_is_replaced_by_the_image_it_came_of_and_no_other_is() -> None:
    white = torch.ones(3, 3, 16, 16)
    white[:, :, 12:, 12:] = -1.0
    white[2] += 1e-4 * torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(0))
    corners = torch.tensor([[0.0, 0.0], [0.99, 0.99], [0.0, 0.0]])
    empty, full, noisy = images.cut_from_enlarged(white, corners, 1.99)
    assert torch.equal(empty, white[0]) and torch.equal(noisy, white[2])
    assert full.mean() < white[1].mean() and full.std() > images.FLAT


def test_a_cut_of_one_colour_is_nearly_constant_though_its_channels_differ() -> None:
    red = torch.tensor([1.0, -1.0, -1.0]).view(1, 3, 1, 1).repeat(1, 1, 16, 16)
    red[:, :, 12:, 12:] = 0.0
    assert torch.equal(images.cut_from_enlarged(red, torch.zeros(1, 2), 1.99), red)


def test_a_cut_of_a_faint_image_is_kept() -> None:
    faint = 0.01 * torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(images.cut_from_enlarged(faint, torch.zeros(1, 2), 1.5), faint)
