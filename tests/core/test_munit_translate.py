"""Translation with MUNIT: drawn and given styles, images of all suitable sizes, and refusals."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from alae_core.algorithm import Batch, SamplingError
from alae_core.algorithms import munit
from alae_core.schedule import Level

pytestmark = pytest.mark.slow

COUNT, SIZE = 3, 16
CONFIG = munit.Config(resolution=SIZE, latent=3, base_channels=2, hidden=4, residual_blocks=1, scales=2)


@pytest.fixture
def algorithm() -> munit.MUNIT:
    torch.manual_seed(0)
    return CONFIG.build()


def batch(seed: int = 0, rows: slice = slice(0, COUNT), sides: tuple[int, int] = (SIZE, SIZE)) -> Batch:
    level = Level(index=0, resolution=SIZE, blend=1.0, batch_size=COUNT, lr=1e-3)
    images = torch.rand(2, COUNT, 3, *sides, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return Batch(images=tuple(images[:, rows]), level=level, nimg=0, seed=seed, rows=rows, update="translate")


def translated(algorithm: munit.MUNIT, of: Batch, to: int = 1, style: Tensor | None = None, **drawn: Any) -> Tensor:
    with torch.no_grad():
        return algorithm.translate(algorithm.networks, of, to, style, **drawn)


@pytest.mark.parametrize("to", [0, 1])
def test_images_of_the_other_domain_are_translated_by_their_content_and_the_batch_s_styles(
    algorithm: munit.MUNIT, to: int
) -> None:
    of, networks = batch(), algorithm.networks
    content = networks[f"content_encoder_{'ba'[to]}"](of.images[1 - to])
    expected = networks[f"generator_{'ab'[to]}"](content, of.noise("style_0", CONFIG.latent))
    assert torch.equal(translated(algorithm, of, to), expected)
    assert expected.shape == (COUNT, 3, SIZE, SIZE)


def test_the_seed_of_the_batch_decides_and_nothing_else_does(algorithm: munit.MUNIT) -> None:
    first = translated(algorithm, batch(), count=2)
    torch.manual_seed(5)
    assert torch.equal(translated(algorithm, batch(), count=2), first)
    assert not torch.allclose(translated(algorithm, batch(seed=1), count=2), first)
    alone = translated(algorithm, batch(rows=slice(1, 2)), count=2)
    torch.testing.assert_close(alone, first[2:4])


def test_each_image_has_its_styles_in_a_row_and_the_first_ones_are_those_of_fewer(algorithm: munit.MUNIT) -> None:
    one, four = translated(algorithm, batch()), translated(algorithm, batch(), count=4)
    assert four.shape == (4 * COUNT, 3, SIZE, SIZE)
    torch.testing.assert_close(four[::4], one)
    assert not torch.allclose(four[0], four[1], atol=1e-3)


def test_shared_styles_are_the_same_for_every_image(algorithm: munit.MUNIT) -> None:
    of = batch()
    same = replace(of, images=tuple(domain[:1].expand(COUNT, -1, -1, -1) for domain in of.images))
    shared, own = (translated(algorithm, same, count=2, shared=flag) for flag in (True, False))
    torch.testing.assert_close(shared[:2], shared[2:4])
    assert not torch.allclose(own[:2], own[2:4], atol=1e-3)


def test_an_example_gives_its_style_to_all_images_or_each_to_its_own(algorithm: munit.MUNIT) -> None:
    of = batch()
    with torch.no_grad():
        styles = algorithm.style_of(algorithm.networks, of.images[1], 1)
        drawn = of.noise("style_0", CONFIG.latent)
    each, first = translated(algorithm, of, style=styles), translated(algorithm, of, style=styles[:1])
    torch.testing.assert_close(first[0], each[0])
    assert not torch.allclose(first[1], each[1], atol=1e-4)
    assert torch.equal(translated(algorithm, of, style=drawn), translated(algorithm, of))


def test_reconstructing_is_decoding_an_image_s_own_content_and_style_within_its_domain(algorithm: munit.MUNIT) -> None:
    of, networks = batch(), algorithm.networks
    for domain, name in enumerate(munit.DOMAINS):
        content, style = (networks[f"{part}_encoder_{name}"](of.images[domain]) for part in ("content", "style"))
        expected = networks[f"generator_{name}"](content, style)
        assert torch.equal(algorithm.reconstruct(networks, of, domain), expected)


@pytest.mark.parametrize("sides", [(16, 24), (20, 8), (48, 48)])
def test_images_of_any_sides_that_are_multiples_of_four_are_translated(
    algorithm: munit.MUNIT, sides: tuple[int, int]
) -> None:
    assert translated(algorithm, batch(sides=sides)).shape == (COUNT, 3, *sides)


# Refusals.


@pytest.mark.parametrize("sides", [(16, 18), (4, 16), (15, 16)])
def test_sides_that_would_come_back_otherwise_are_refused(algorithm: munit.MUNIT, sides: tuple[int, int]) -> None:
    with pytest.raises(
        ValueError, match=rf"^images of {sides[0]}x{sides[1]} px cannot be coded; give sides .* of 4, 8 or"
    ):
        translated(algorithm, batch(sides=sides))


def test_an_image_too_small_for_the_style_encoder_is_refused(algorithm: munit.MUNIT) -> None:
    with pytest.raises(ValueError, match=r"^images of 8x16 px have no style; give sides of 16 px or more$"):
        algorithm.style_of(algorithm.networks, torch.zeros(1, 3, 8, 16), 0)


def test_unknown_domains_and_styles_both_drawn_and_given_are_refused(algorithm: munit.MUNIT) -> None:
    with pytest.raises(ValueError, match=r"^to=2 is no domain; give 0 or 1$"):
        translated(algorithm, batch(), to=2)
    for drawn in ({"count": 2}, {"shared": True}):
        with pytest.raises(ValueError, match=r"^styles are drawn or given, not both; leave out"):
            translated(algorithm, batch(), style=torch.zeros(1, 3), **drawn)
    with pytest.raises(ValueError, match=r"^count=0 translations are none; give 1 or more$"):
        translated(algorithm, batch(), count=0)


def test_nothing_is_made_of_noise_alone_and_nothing_is_mixed(algorithm: munit.MUNIT) -> None:
    with pytest.raises(SamplingError, match="munit makes no image of noise alone; give images"):
        algorithm.generate(algorithm.networks, batch())
    assert algorithm.mix(algorithm.networks, batch(), batch()) is None


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"resolution": 18}, "resolution=18 with algorithm.downsamplings=2; give a multiple of 4, 8 or more"),
        ({"resolution": 4}, "resolution=4 with"),
        ({"downsamplings": 0}, "downsamplings=0 must be"),
        ({"residual_blocks": 0}, "residual_blocks=0 must be"),
        ({"scales": 0}, "scales=0 must be"),
        ({"scales": 5}, "scales=5 leaves one pixel of algorithm.resolution=16; give fewer scales"),
    ],
)
def test_networks_that_cannot_be_are_refused_in_a_sentence(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=rf"^algorithm\.{sentence}"):
        replace(CONFIG, **options)


def test_a_config_knows_its_two_domains_before_it_is_built() -> None:
    assert CONFIG.domains == CONFIG.build().domains == 2
