"""Pages drawn from codes of a network with known pixels, and curves of metrics."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from alae_core.algorithm import PLAIN_SAMPLING, Sampling, SamplingError
from alae_core.schedule import Level
from pipelines.evaluation.pages import from_codes
from pipelines.evaluation.subject import Subject
from pipelines.pictures.curves import curve_page
from pipelines.pictures.grids import PAPER, THIN_PX, WIDE_PX
from pipelines.runs.evaluations import Evaluation
from pipelines.runs.history import Tick
from pipelines.runs.values import curves, measured_names

SIDE, LAYERS = 8, 4


@dataclass
class Bands:
    """Four styles of dimension 1, each the shade of a band of two rows; the code of an image is its mean."""

    latent: int = 1
    domains: int = 1
    seen: list[Sampling | None] = field(default_factory=list)

    def style_layers(self, level: Level) -> int:
        return 2 * (level.index + 1)

    def mapped(self, networks: Any, z: Tensor) -> Tensor:
        return z

    def decode(self, networks: Any, styles: Tensor, batch: Any, sampling: Sampling | None = None) -> Tensor:
        self.seen.append(sampling)
        styles = styles if styles.ndim == 3 else styles.unsqueeze(1).expand(-1, LAYERS, -1)
        return styles[:, :, 0].repeat_interleave(2, 1).view(-1, 1, SIDE, 1).expand(-1, 1, SIDE, SIDE)

    def embed(self, networks: Any, batch: Any) -> Tensor:
        return batch.images[0].mean((1, 2, 3)).unsqueeze(1)

    def generate(self, networks: Any, batch: Any, sampling: Sampling = PLAIN_SAMPLING) -> Tensor:
        number = torch.arange(batch.size).view(-1, 1, 1, 1) / 10
        return (number * sampling.truncation).expand(-1, 1, SIDE, SIDE)


def subject(algorithm: Any = None, resolution: int = SIDE) -> Subject:
    level = Level(index=int(np.log2(resolution)) - 2, resolution=resolution, blend=1.0, batch_size=8, lr=1e-3)
    return Subject(algorithm=algorithm or Bands(), networks={}, level=level, channels=1, seed=0)


def flat(*shades: float) -> Tensor:
    """Images of constant shades in [-1, 1]."""
    return torch.tensor(shades, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 1, SIDE, SIDE)


def byte(*shades: float) -> list[int]:
    return [round((shade + 1) * 127.5) for shade in shades]


def tile_bands(page: np.ndarray, top: int, left: int, scale: int) -> list[int]:
    """Shades of the four bands of a tile, which are constant."""
    tile = page[top : top + SIDE * scale, left : left + SIDE * scale, 0].reshape(LAYERS, -1)
    assert (tile == tile[:, :1]).all()
    return tile[:, 0].tolist()


def test_sources_give_coarse_then_middle_then_fine_styles_to_the_images_on_top() -> None:
    page = from_codes.mixed_by_depth(subject(), flat(0.5, 0.6, 0.7), flat(-0.5, -0.25))
    scale = 1024 // (3 * SIDE)
    size = scale * SIDE
    lefts = [0, size + WIDE_PX, 2 * size + WIDE_PX + THIN_PX]
    tops = [0, *(row * (size + WIDE_PX) for row in (1, 2, 3))]
    assert page.shape == (tops[-1] + size, lefts[-1] + size, 1)
    assert (page[:size, :size] == PAPER).all()
    seen = [[tile_bands(page, top, left, scale) for left in lefts] for top in tops[1:]]
    a, b = byte(-0.5, -0.25)
    coarse, middle, fine = byte(0.5, 0.6, 0.7)
    assert [row[0] for row in seen] == [[shade] * 4 for shade in (coarse, middle, fine)]
    assert seen[0][1:] == [[coarse, coarse, own, own] for own in (a, b)]
    assert seen[1][1:] == [[own, own, middle, own] for own in (a, b)]
    assert seen[2][1:] == [[own, own, own, fine] for own in (a, b)]


def test_several_sources_of_a_depth_stand_together_and_the_depths_apart() -> None:
    page = from_codes.mixed_by_depth(subject(), flat(*[0.0] * 6), flat(*[0.0] * 5))
    size = 1024 // (6 * SIDE) * SIDE
    assert page.shape[0] == 7 * size + 3 * WIDE_PX + 3 * THIN_PX


@pytest.mark.parametrize(
    ("layers", "groups"),
    [
        (2, ()),
        (4, ((0, 2), (2, 3), (3, 4))),
        (6, ((0, 2), (2, 4), (4, 6))),
        (8, ((0, 3), (3, 6), (6, 8))),
        (10, ((0, 4), (4, 8), (8, 10))),
        (18, ((0, 4), (4, 8), (8, 18))),
    ],
)
def test_depths_are_stylegan_s_from_64_px_on_and_thirds_below(layers: int, groups: object) -> None:
    assert from_codes.style_groups(layers) == groups


def test_interpolation_is_bilinear_in_the_codes_and_its_corners_are_the_reconstructions() -> None:
    algorithm = Bands()
    page = from_codes.interpolated(subject(algorithm), flat(-1.0, 0.0, 0.5, 1.0), side=3)
    scale = 1024 // (3 * SIDE)
    step = scale * SIDE + THIN_PX
    seen = [[tile_bands(page, row * step, column * step, scale)[0] for column in range(3)] for row in range(3)]
    assert seen == [byte(-1.0, -0.5, 0.0), byte(-0.25, 0.125, 0.5), byte(0.5, 0.75, 1.0)]
    assert algorithm.seen == [Sampling(noise="shared")]
    assert from_codes.interpolated(subject(), flat(0, 0, 0, 0)).shape[0] == 7 * 18 * SIDE + 6 * THIN_PX


def test_rows_of_the_truncation_page_are_the_same_samples_ever_closer_to_the_mean() -> None:
    page = from_codes.truncated(subject(), columns=4, psis=(1.0, 0.5, 0.0))
    step = 32 * SIDE + THIN_PX
    seen = [[int(page[row * step, column * step, 0]) for column in range(4)] for row in range(3)]
    assert seen == [byte(0, 0.1, 0.2, 0.3), byte(0, 0.05, 0.1, 0.15), byte(0, 0, 0, 0)]


def test_pages_are_drawn_as_far_as_the_networks_allow() -> None:
    real = flat(*np.linspace(-1, 1, 16).tolist())
    assert set(from_codes.drawn_from_codes(subject(), real, 4)) == {"truncation", "interpolation", "mixing_by_depth"}
    assert set(from_codes.drawn_from_codes(subject(), real[:6], 4)) == {"truncation", "interpolation"}

    class Bare(Bands):
        embed = None  # type: ignore[assignment]

        def generate(self, *_: Any) -> Tensor:
            raise SamplingError("no mean")

    assert from_codes.drawn_from_codes(subject(Bare()), real, 4) == {}


def test_pages_of_another_form_are_refused() -> None:
    with pytest.raises(ValueError, match="4 sources with 4 styles an image make no page; give a multiple of three"):
        from_codes.mixed_by_depth(subject(), flat(0, 0, 0, 0), flat(0))
    with pytest.raises(ValueError, match="3 sources with 2 styles an image"):
        from_codes.mixed_by_depth(subject(resolution=4), flat(0, 0, 0), flat(0))
    with pytest.raises(ValueError, match="3 corners of a page of side=7; give 4 images"):
        from_codes.interpolated(subject(), flat(0, 0, 0))


TICK = Tick(1000, {"loss": 1.5, "other": None}, 0.0)
FIRST = Evaluation(2000, {"eval/fd": 3.0, "eval/fd_se": 0.5, "eval/seconds": 9.0}, {}, None, 0.0)
LAST = replace(FIRST, nimg=4000, metrics={"eval/fd": 2.0, "eval/l1": None})


def test_curves_are_the_finite_values_by_kimg_with_their_errors() -> None:
    found = curves(["loss", "other", "eval/fd", "eval/l1"], [TICK], [LAST, FIRST])
    assert found == {"loss": {1.0: (1.5, None)}, "eval/fd": {2.0: (3.0, 0.5), 4.0: (2.0, None)}}
    assert list(found["eval/fd"]) == [2.0, 4.0]
    assert measured_names([FIRST, LAST]) == ["eval/fd", "eval/l1"]


def test_a_page_of_curves_has_a_panel_each_and_draws_the_band_of_their_errors() -> None:
    def drawn(error: float | None) -> np.ndarray:
        return curve_page({"a": {0.0: (0.0, error), 1.0: (10.0, error), 2.0: (5.0, error)}})

    one = drawn(None)
    assert one.shape == (300, 600, 3) and one.dtype == np.uint8
    assert curve_page({key: {0.0: (1.0, None)} for key in "abc"}).shape == (900, 600, 3)
    band, line = (((page[..., 2] > page[..., 0]) & (page[..., 0] < 200)).sum() for page in (drawn(2.0), one))
    assert band > 5 * line > 0
    with pytest.raises(ValueError, match="no values to draw"):
        curve_page({})
