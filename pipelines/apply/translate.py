"""`alae translate`: images of one domain as images of the other, by drawn styles, by an example's, or in the one way there is."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from alae_core import images
from alae_core.algorithm import DOMAINS, Batch
from alae_core.capabilities import Attends, Contents, DrawsStyles, Translates
from pipelines import storage
from pipelines.apply.inputs import Input, fitted, folders, lies_in, opened
from pipelines.evaluation.loading import load
from pipelines.evaluation.subject import Subject
from pipelines.pictures import grids, heat_maps
from pipelines.sources.decoding import ImageRejectedError, Pixels

GRID_ROWS = 16
"""Inputs on the grid, the first ones."""


@dataclass(frozen=True, kw_only=True)
class How:
    """How images are translated."""

    to: str
    """The domain: a or b."""
    styles: int | None = None
    """Drawn for each image; None: one."""
    example: str | None = None
    """An image of domain `to` whose style all get, instead of drawn ones."""
    seed: int = 0
    shared: bool = False
    """The same drawn styles for all images."""
    size: int | None = None
    """Pixels of the shorter side; None: as the image is."""
    grid: bool = False


@dataclass
class Translated:
    """What came of the images."""

    checkpoint: str
    nimg: int
    out: str
    files: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """A sentence for each image that was cut or resized to fit, and for each file that is no image by its name."""
    rejected: list[str] = field(default_factory=list)
    """A sentence for each image that could not be translated."""


@torch.no_grad()
def translate(
    place: str,
    sources: Sequence[str],
    out: str,
    how: How,
    on_image: Callable[[int, int], None] = lambda done, total: None,
) -> Translated:
    """Translate the images at `sources` by the checkpoint at `place`, or by a run's newest, into PNG files in `out`.

    Image `name` gives `name_0.png` and so on, and, where no styles are drawn, `name_attention.png`; all together `grid.png`.
    What is drawn is named by the seed, the image's number among all and the style's number. Images that cannot be read or
    do not fit are left out and named. Raises ValueError for what the user can mend, before anything is written.
    """
    url, experiment, subject, nimg = load(place)
    translator = _Translator.of(subject, experiment.algorithm.kind, how)
    if lies_in(out, folders(sources)):
        raise ValueError(f"{out} is where images are read from; name another folder for their translations")
    done = Translated(url, nimg, out)
    inputs = opened(sources, subject.channels, done.notes)
    rows: list[list[Pixels]] = []
    for number, image in enumerate(inputs):
        try:
            given = image.load()
            shown = translator.fitted(given)
        except ImageRejectedError as error:
            done.rejected.append(f"{image.name} is left out: {error}")
            continue
        if given.shape != shown.shape:
            done.notes.append(f"{image.name}: {_sides(given)} px taken as {_sides(shown)} px")
        made = translator.made(shown, number)
        _write(done, out, image, made)
        if how.grid and len(rows) < GRID_ROWS:
            rows.append([shown, *made.values()])
        on_image(number + 1, len(inputs))
    if rows:
        _put(done, storage.join(out, "grid.png"), _grid(rows))
    return done


def told(done: Translated) -> str:
    """For people: whose networks, how many files, and what was done to images."""
    lines = [f"{done.checkpoint} at {done.nimg / 1000:g} kimg", *done.notes]
    return "\n".join([*lines, f"{len(done.files):,} files in {done.out}"])


@dataclass(frozen=True)
class _Translator:
    """The networks with all that is the same for every image."""

    subject: Subject
    algorithm: Translates
    how: How
    to: int
    size: int | None
    example: Tensor | None
    """The example's style, [1, D]."""

    @classmethod
    def of(cls, subject: Subject, kind: str, how: How) -> "_Translator":
        """Raises ValueError for what cannot be."""
        algorithm = subject.algorithm
        if not isinstance(algorithm, Translates):
            raise ValueError(f"{kind} has one domain and translates nothing; name a run of two domains")
        if how.to.lower() not in DOMAINS:
            raise ValueError(f"to={how.to} is no domain; give {' or '.join(DOMAINS)}")
        to = DOMAINS.index(how.to.lower())
        chosen = (how.styles is not None, how.example is not None, how.shared)
        if any(chosen) and not isinstance(algorithm, DrawsStyles):
            raise ValueError(f"{kind} translates an image in one way only; leave out styles, example and shared")
        if how.example is not None and (how.styles is not None or how.shared):
            raise ValueError("styles are drawn or an example's, not both; leave out the example, or styles and shared")
        if how.styles is not None and how.styles < 1:
            raise ValueError(f"styles={how.styles} are none; give 1 or more")
        if how.size is not None and how.size < 2 * algorithm.step:
            raise ValueError(f"size={how.size} is too small for the networks; give {2 * algorithm.step} or more")
        if algorithm.side and how.size not in (None, algorithm.side):
            raise ValueError(f"size={how.size}: these networks take {algorithm.side} px alone; leave the size out")
        bare = cls(subject, algorithm, how, to, how.size or algorithm.side, None)
        if how.example is None or not isinstance(algorithm, DrawsStyles):
            return bare
        return replace(bare, example=bare._style_of(algorithm, how.example))

    def fitted(self, pixels: Pixels) -> Pixels:
        """uint8 [H, W, C] of sides that the networks take; raises ImageRejectedError."""
        return fitted(pixels, self.algorithm.step, size=self.size, side=self.algorithm.side)

    def made(self, shown: Pixels, number: int) -> dict[str, Pixels]:
        """The translations of image number `number` by the ends of their names, then its heat map where there is one."""
        content = _tensor(shown)
        found = {str(place): _pixels(image) for place, image in enumerate(self._images(content, number))}
        if isinstance(self.algorithm, Attends):
            heat = self.algorithm.attention(self.subject.networks, content, 1 - self.to)
            found["attention"] = heat_maps.over(shown[None], heat)[0]
        return found

    def _images(self, image: Tensor, number: int) -> Iterator[Tensor]:
        """One at a time: so their bytes do not depend on how many there are."""
        algorithm, networks = self.algorithm, self.subject.networks
        batch = self._batch(image, number)
        if not isinstance(algorithm, DrawsStyles):
            yield algorithm.translate(networks, batch, self.to)
            return
        styles = self.example
        if styles is None:
            styles = algorithm.drawn_styles(batch, self.how.styles or 1, shared=self.how.shared)[0]
        if isinstance(algorithm, Contents):
            content = algorithm.content_of(networks, image, 1 - self.to)
            yield from (algorithm.image_of(networks, content, style[None], self.to) for style in styles)
            return
        for style in styles:
            yield algorithm.translate(networks, batch, self.to, style[None])

    def _batch(self, image: Tensor, number: int) -> Batch:
        return Batch(
            images=tuple(image if own != self.to else image[:0] for own in range(len(DOMAINS))),
            level=replace(self.subject.level, batch_size=1),
            nimg=0 if self.how.shared else number,
            seed=self.how.seed,
            rows=slice(0, 1),
            update="translate",
        )

    def _style_of(self, algorithm: DrawsStyles, address: str) -> Tensor:
        found = opened([address], self.subject.channels)
        if len(found) != 1:
            raise ValueError(f"example {address} holds {len(found)} images; name one")
        try:
            style = algorithm.style_of(self.subject.networks, _tensor(self.fitted(found[0].load())), self.to)
        except ValueError as error:
            raise ValueError(f"example {address} cannot be used: {error}") from error
        return style


def _write(done: Translated, out: str, image: Input, made: dict[str, Pixels]) -> None:
    for end, pixels in made.items():
        _put(done, storage.join(out, f"{image.stem}_{end}.png"), pixels)


def _put(done: Translated, url: str, pixels: Pixels) -> None:
    storage.write_bytes_verified(url, grids.png_bytes(pixels))
    done.files.append(url)


def _grid(rows: Sequence[Sequence[Pixels]]) -> Pixels:
    """A row for each input: itself, and what was made of it; images of other sizes than the largest stand within paper."""
    side = max(max(tile.shape[:2]) for row in rows for tile in row)
    # A multiple of 16, so that a wide page can be halved until it fits.
    side = -(-side // 16) * 16 if side > 64 else side
    channels = max(tile.shape[2] for row in rows for tile in row)
    first, *others = zip(*([_tile(tile, side, channels) for tile in row] for row in rows), strict=True)
    made = [tile for row in zip(*others, strict=True) for tile in row]
    return grids.edited_page(np.stack(first), np.stack(made))


def _tile(image: Pixels, side: int, channels: int) -> Pixels:
    height, width, _ = image.shape
    top, left = (side - height) // 2, (side - width) // 2
    tile = np.full((side, side, channels), grids.PAPER, np.uint8)
    tile[top : top + height, left : left + width] = image
    return tile


def _tensor(pixels: Pixels) -> Tensor:
    return images.to_float(torch.tensor(pixels)[None])


def _pixels(image: Tensor) -> Pixels:
    # Rounded to uint8, NaN would pass for black.
    if not torch.isfinite(image).all():
        raise RuntimeError("a translation is not finite; the averaged networks are no good")
    return images.to_uint8(image).numpy()[0]


def _sides(pixels: Pixels) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]}"
