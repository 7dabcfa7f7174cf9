"""Pixels: the way to floats and back, the pyramid's halving, the blend of the reals and mirroring."""

import numpy as np
import pytest
import torch

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
    """By padding and cutting; a positive shift shows what lies further down and right."""
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
