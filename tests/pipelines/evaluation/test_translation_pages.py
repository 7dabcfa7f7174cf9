"""Pages of translators: their layout, and that they show the networks' images."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from alae_core import images
from alae_core.algorithms import munit, nice_gan
from alae_core.schedule import Level
from pipelines.evaluation.pages.translations import pages
from pipelines.evaluation.subject import Subject
from pipelines.pictures import grids, heat_maps

COLUMNS = 4
CONFIGS = {
    "munit": munit.Config(resolution=16, latent=3, base_channels=4, hidden=8, residual_blocks=1, scales=2),
    "nice_gan": nice_gan.Config(resolution=48, base_channels=4, residual_blocks=1, discriminator_layers=6),
    "grey": nice_gan.Config(resolution=48, base_channels=4, residual_blocks=1, discriminator_layers=6, channels=1),
}


def subject_of(name: str) -> Subject:
    torch.manual_seed(0)
    config: Any = CONFIGS[name]
    algorithm = config.build()
    level = Level(index=0, resolution=config.resolution, blend=1.0, batch_size=2, lr=1e-3)
    return Subject(algorithm=algorithm, networks=algorithm.networks, level=level, channels=config.channels, seed=3)


def reals(subject: Subject, *counts: int) -> tuple[Tensor, ...]:
    draws = torch.Generator().manual_seed(0)
    side = subject.level.resolution
    return tuple(torch.rand(count, subject.channels, side, side, generator=draws) * 2 - 1 for count in counts)


def pixels(content: Tensor) -> np.ndarray:
    return images.to_uint8(content).numpy()


def test_a_page_of_drawn_styles_has_a_row_for_each_input_and_a_column_for_each_style() -> None:
    subject = subject_of("munit")
    real = reals(subject, 5, 6)
    of_b = subject.batch(0, 4, real[1][:4], "pages")
    with torch.no_grad():
        drawn = subject.algorithm.translate(  # type: ignore[attr-defined]
            subject.networks, replace(of_b, images=(real[0][:0], real[1][:4])), 0, count=3, shared=True
        )
    found = pages(subject, real, COLUMNS)
    np.testing.assert_array_equal(found["translations_to_a"], grids.edited_page(pixels(real[1][:4]), pixels(drawn)))
    assert not torch.allclose(drawn[0], drawn[1], atol=1e-3)
    np.testing.assert_array_equal(found["reals_b"], grids.sample_page(pixels(real[1]), COLUMNS))


def test_an_image_is_guided_by_the_example_above_it() -> None:
    subject = subject_of("munit")
    algorithm: Any = subject.algorithm
    real = reals(subject, 3, 2)
    with torch.no_grad():
        styles = algorithm.style_of(subject.networks, real[1], 1)
        guided = [
            algorithm.image_of(subject.networks, algorithm.content_of(subject.networks, image[None], 0), style[None], 1)
            for image in real[0]
            for style in styles
        ]
    expected = grids.mixing_page(pixels(real[0]), pixels(real[1]), pixels(torch.cat(guided)))
    found = pages(subject, real, COLUMNS)["guided_to_b"]
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert len({image.tobytes() for image in pixels(torch.cat(guided))}) == 6


@pytest.mark.parametrize("name", ["nice_gan", "grey"])
def test_without_styles_the_translation_and_the_heat_map_stand_beside_each_image(name: str) -> None:
    subject = subject_of(name)
    algorithm: Any = subject.algorithm
    real = reals(subject, 5, 6)
    with torch.no_grad():
        code, _ = algorithm.networks["encoder_a"](real[0])
        to_b = algorithm.decode(subject.networks, code, 1)
        again = algorithm.decode(subject.networks, code, 0)
    found = pages(subject, real, COLUMNS)
    shown = pixels(real[0])
    expected = {
        "translations_to_b": grids.reconstruction_page(shown, pixels(to_b), COLUMNS),
        "reconstructions_a": grids.reconstruction_page(shown, pixels(again), COLUMNS),
        "attention_a": grids.reconstruction_page(
            shown if name == "nice_gan" else shown.repeat(3, 3), heat_maps.over(shown, code.sum(1)), COLUMNS
        ),
    }
    for page, content in expected.items():
        assert np.abs(found[page].astype(int) - content).max() <= 1, page


def test_both_kinds_have_pages_of_both_domains() -> None:
    shared = {"reals", "reconstructions", "translations_to"}
    for name, more in (("munit", {"guided_to"}), ("nice_gan", {"attention"})):
        subject = subject_of(name)
        expected = {f"{page}_{domain}" for page in shared | more for domain in "ab"}
        assert pages(subject, reals(subject, 2, 3), COLUMNS).keys() == expected


def test_pages_of_one_column_show_one_style_and_are_the_same_again() -> None:
    subject = subject_of("munit")
    real = reals(subject, 2, 2)
    first, second = (pages(subject, real, 1) for _ in range(2))
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_networks_that_are_no_good_are_named_and_not_drawn_black() -> None:
    subject = subject_of("munit")
    subject.networks["generator_b"].image.bias.data.fill_(torch.nan)  # type: ignore[union-attr]
    with pytest.raises(RuntimeError, match="not finite; the averaged networks are unusable"):
        pages(subject, reals(subject, 2, 2), COLUMNS)


def test_heat_lies_where_the_map_is_high_and_keeps_the_image_s_shades() -> None:
    shown = np.zeros((2, 8, 12, 3), np.uint8)
    shown[0, :, 6:] = 200
    heat = torch.zeros(2, 2, 3)
    heat[0, 0, 0], heat[1] = 5.0, -1.0
    laid = heat_maps.over(shown, heat)
    assert laid.shape == (2, 8, 12, 3) and laid.dtype == np.uint8
    assert laid[0, 0, 0].sum() > laid[0, -1, 0].sum(), "the hot corner is no lighter than a cold one"
    assert (laid[0, -1, -1].astype(int) - laid[0, -1, 0] == round(200 * (1 - heat_maps.HEAT))).all()
    assert len(np.unique(laid[1].reshape(-1, 3), axis=0)) == 1, "a map of one value has one colour"
