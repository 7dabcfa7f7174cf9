"""StyleGAN's discriminator: golden size, dependence between the images of a group, and growth by level."""

from typing import Any

import pytest
import torch

from alae_core import layers
from alae_core.networks.style_discriminator import StyleDiscriminator


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def discriminator(**changes: Any) -> StyleDiscriminator:
    network = StyleDiscriminator(16, 2, 4, 8, **changes).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_()
    return network


def test_the_discriminator_at_1024_has_the_parameters_counted_by_hand() -> None:
    with torch.device("meta"):
        found = sum(parameter.numel() for parameter in StyleDiscriminator(1024, 3, 16, 512).parameters())
    # Each resolution has a 3x3 convolution to the same width and one to the next width, with biases.
    assert found == sum(
        [
            2_320 + 4_640,  # 1024: 16 -> 16 -> 32
            9_248 + 18_496,  # 512: 32 -> 32 -> 64
            36_928 + 73_856,  # 256: 64 -> 64 -> 128
            147_584 + 295_168,  # 128: 128 -> 128 -> 256
            590_080 + 1_180_160,  # 64: 256 -> 256 -> 512
            6 * 2_359_808,  # 32, 16, 8: 512 -> 512 -> 512
            2_364_416,  # 4: 512 and the deviation -> 512
            4_194_816,  # 8192 -> 512
            513,  # 512 -> 1
            64 + 128 + 256 + 512 + 1_024 + 4 * 2_048,  # from RGB at every level
        ]
    )


def test_the_minibatch_deviation_is_one_number_per_group_of_images_in_a_row() -> None:
    x = torch.randn(6, 3, 4, 4, dtype=torch.float64)
    found = layers.minibatch_stddev(x, 3)
    assert torch.equal(found[:, :3], x) and found.shape == (6, 4, 4, 4)
    for group in (slice(0, 3), slice(3, 6)):
        expected = (x[group].var(0, unbiased=False) + 1e-8).sqrt().mean()
        torch.testing.assert_close(found[group, 3], expected.expand(3, 4, 4))


def test_splitting_a_batch_between_groups_changes_no_deviation() -> None:
    x = torch.randn(8, 3, 4, 4)
    parts = [layers.minibatch_stddev(part, 2) for part in x.split((2, 4, 2))]
    torch.testing.assert_close(torch.cat(parts), layers.minibatch_stddev(x, 2))


def test_equal_images_have_a_deviation_of_almost_zero_and_finite_gradients() -> None:
    x = torch.ones(4, 2, 4, 4, requires_grad=True)
    deviation = layers.minibatch_stddev(x, 4)[:, 2]
    deviation.sum().backward()
    torch.testing.assert_close(deviation, torch.full((4, 4, 4), 1e-4))
    assert x.grad is not None and torch.isfinite(x.grad).all()


def test_a_batch_that_does_not_divide_into_groups_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^6 images do not divide into the groups of 4 .* give a multiple of 4$"):
        layers.minibatch_stddev(torch.zeros(6, 1, 4, 4), 4)


def test_images_see_their_own_group_and_no_other() -> None:
    images = torch.randn(4, 2, 8, 8, dtype=torch.float64)
    changed = images.clone()
    changed[0] += 1
    for group, seen in ((2, [True, True, False, False]), (1, [True, False, False, False])):
        network = discriminator(stddev_group=group)
        difference = (network(changed, 1) - network(images, 1)).abs()
        assert [value > 1e-9 for value in difference.tolist()] == seen


@pytest.mark.parametrize("level", [1, 2])
@pytest.mark.parametrize("blur", [True, False])
def test_the_discriminator_s_fade_starts_at_the_coarser_images_and_ends_at_the_finer(level: int, blur: bool) -> None:
    network = discriminator(blur=blur)
    images = torch.randn(4, 2, 4 * 2**level, 4 * 2**level, dtype=torch.float64)
    torch.testing.assert_close(network(images, level, blend=0.0), network(layers.downsample(images), level - 1))
    torch.testing.assert_close(network(images, level, blend=1.0 - 1e-12), network(images, level))
    assert (network(images, level, blend=0.5) - network(images, level)).abs().max() > 1e-3
