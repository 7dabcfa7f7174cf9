"""Translation, styles and heat maps, checked on every algorithm of two domains."""

from typing import Any

import pytest
import torch
from torch import Tensor

from alae_core.algorithm import SamplingError
from alae_core.capabilities import Attends, Contents, DrawsStyles, Translates
from tests.support.offers import EXPERIMENTS, batch_at, batch_of, fresh, offering

BOTH = ((0, 1), (1, 0))
COUNT = 3


def translator(name: str) -> Any:
    return fresh(EXPERIMENTS[name])


def pictures(name: str, *sides: int, count: int = COUNT) -> Tensor:
    """Random images [count, C, H, W] in [-1, 1]."""
    draws = torch.Generator().manual_seed(count)
    return torch.rand(count, EXPERIMENTS[name].algorithm.channels, *sides, generator=draws) * 2 - 1


def sides(name: str) -> list[tuple[int, int]]:
    """Image sizes that the networks accept: that of the training, and others if the side is not fixed."""
    algorithm, size = translator(name), EXPERIMENTS[name].algorithm.resolution
    others = [(2 * algorithm.step, 3 * algorithm.step), (size + algorithm.step, size)]
    return [(size, size)] if algorithm.side else [(size, size), *others]


@offering(Translates)
def test_images_of_either_domain_become_images_of_the_other_of_their_size(name: str) -> None:
    algorithm, experiment = translator(name), EXPERIMENTS[name]
    for own, to in BOTH:
        for size in sides(name):
            images = pictures(name, *size)
            given = tuple(images if domain == own else images[:0] for domain in (0, 1))
            batch = batch_of(experiment, given, 0, slice(0, COUNT))
            made = algorithm.translate(algorithm.networks, batch, to)
            assert made.shape == images.shape and made.abs().max() <= 1
            assert torch.equal(algorithm.translate(algorithm.networks, batch, to), made)


@offering(Translates)
def test_images_of_either_domain_are_reconstructed_within_it(name: str) -> None:
    algorithm, batch = translator(name), batch_at(EXPERIMENTS[name], 0, slice(0, COUNT))
    for own, to in BOTH:
        again = algorithm.reconstruct(algorithm.networks, batch, own)
        assert again.shape == batch.images[own].shape and torch.isfinite(again).all()
        assert (again != algorithm.translate(algorithm.networks, batch, to)).any()


@offering(Translates)
def test_an_image_is_translated_the_same_whatever_it_is_batched_with(name: str) -> None:
    algorithm, experiment = translator(name), EXPERIMENTS[name]
    whole, part = (batch_at(experiment, 0, rows) for rows in (slice(0, 8), slice(5, 7)))
    for _, to in BOTH:
        together, apart = (algorithm.translate(algorithm.networks, batch, to) for batch in (whole, part))
        torch.testing.assert_close(together[5:7], apart, rtol=1e-4, atol=1e-5)


@offering(Translates)
def test_unknown_domains_and_sides_that_do_not_fit_are_refused(name: str) -> None:
    algorithm, experiment = translator(name), EXPERIMENTS[name]
    batch = batch_at(experiment, 0, slice(0, COUNT))
    with pytest.raises(ValueError, match="to=2 is no domain; give 0 or 1"):
        algorithm.translate(algorithm.networks, batch, 2)
    wrong = [(algorithm.step, algorithm.step), (2 * algorithm.step + 1, 2 * algorithm.step)]
    for size in wrong:
        given = pictures(name, *size)
        with pytest.raises(ValueError, match=rf"images of {size[0]}x{size[1]} px"):
            algorithm.translate(algorithm.networks, batch_of(experiment, (given, given), 0, slice(0, COUNT)), 1)


@offering(Translates)
def test_there_is_no_image_of_noise_alone(name: str) -> None:
    algorithm = translator(name)
    with pytest.raises(SamplingError):
        algorithm.generate(algorithm.networks, batch_at(EXPERIMENTS[name], 0, slice(0, COUNT)))


@offering(DrawsStyles)
def test_styles_are_drawn_for_each_image_or_shared_and_fewer_are_the_first_of_more(name: str) -> None:
    algorithm, batch = translator(name), batch_at(EXPERIMENTS[name], 0, slice(0, COUNT))
    many, few = algorithm.drawn_styles(batch, 4), algorithm.drawn_styles(batch, 2)
    assert many.shape[:2] == (COUNT, 4) and many.ndim == 3 and torch.equal(many[:, :2], few)
    assert len(many.flatten(0, 1).unique(dim=0)) == 4 * COUNT
    shared = algorithm.drawn_styles(batch, 4, shared=True)
    assert len(shared.unique(dim=0)) == 1 and len(shared[0].unique(dim=0)) == 4


@offering(DrawsStyles)
def test_two_styles_make_two_translations_and_those_drawn_are_those_given(name: str) -> None:
    algorithm, batch = translator(name), batch_at(EXPERIMENTS[name], 0, slice(0, COUNT))
    styles = algorithm.drawn_styles(batch, 2)
    for _, to in BOTH:
        made = algorithm.translate(algorithm.networks, batch, to, count=2).unflatten(0, (COUNT, 2))
        assert all((first != second).any() for first, second in made)
        for number in range(2):
            given = algorithm.translate(algorithm.networks, batch, to, styles[:, number])
            torch.testing.assert_close(made[:, number], given)
        one = algorithm.translate(algorithm.networks, batch, to, styles[:1, 0])
        torch.testing.assert_close(one[0], made[0, 0])


@offering(Contents)
def test_one_content_serves_every_style(name: str) -> None:
    algorithm, batch = translator(name), batch_at(EXPERIMENTS[name], 0, slice(0, COUNT))
    styles = algorithm.drawn_styles(batch, 2)
    for own, to in BOTH:
        content = algorithm.content_of(algorithm.networks, batch.images[own], own)
        for number in range(2):
            made = algorithm.image_of(algorithm.networks, content, styles[:, number], to)
            given = algorithm.translate(algorithm.networks, batch, to, styles[:, number])
            torch.testing.assert_close(made, given)


@offering(DrawsStyles)
def test_an_image_has_a_style_of_its_own_that_can_be_given_to_others(name: str) -> None:
    algorithm, experiment = translator(name), EXPERIMENTS[name]
    batch = batch_at(experiment, 0, slice(0, COUNT))
    for _, to in BOTH:
        styles = algorithm.style_of(algorithm.networks, batch.images[to], to)
        assert styles.shape == algorithm.drawn_styles(batch)[:, 0].shape and torch.isfinite(styles).all()
        assert len(styles.unique(dim=0)) == COUNT
        made = algorithm.translate(algorithm.networks, batch, to, styles)
        assert made.shape == batch.images[to].shape
        with pytest.raises(ValueError, match="px"):
            algorithm.style_of(algorithm.networks, batch.images[to][..., :1, :1], to)


@offering(DrawsStyles)
@pytest.mark.parametrize("how", [{"count": 0}, {"count": 2, "style": True}, {"shared": True, "style": True}])
def test_styles_are_drawn_or_given_and_never_none(name: str, how: dict[str, Any]) -> None:
    algorithm, batch = translator(name), batch_at(EXPERIMENTS[name], 0, slice(0, COUNT))
    if "style" in how:
        how = how | {"style": algorithm.drawn_styles(batch)[:, 0]}
    with pytest.raises(ValueError, match="give"):
        algorithm.translate(algorithm.networks, batch, 1, **how)


@offering(Attends)
def test_heat_maps_are_finite_of_each_image_alone_and_not_all_the_same(name: str) -> None:
    algorithm, batch = translator(name), batch_at(EXPERIMENTS[name], 0, slice(0, COUNT))
    for domain in (0, 1):
        images = batch.images[domain]
        heat = algorithm.attention(algorithm.networks, images, domain)
        assert heat.ndim == 3 and len(heat) == COUNT and torch.isfinite(heat).all()
        assert heat.dtype in (torch.float32, torch.float64) and not heat.requires_grad
        assert heat.flatten(1).std(1).min() > 0
        torch.testing.assert_close(algorithm.attention(algorithm.networks, images[1:2], domain), heat[1:2])
