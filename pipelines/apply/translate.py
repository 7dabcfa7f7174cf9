"""`alae translate`: translates images to the other domain, with drawn styles, an example's style, or without styles."""

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
"""Number of inputs on the grid, the first ones."""


@dataclass(frozen=True, kw_only=True)
class How:
    """Options of a translation."""

    to: str
    """Target domain: a or b."""
    styles: int | None = None
    """Number of styles drawn for each image; None: 1."""
    example: str | None = None
    """Image of domain `to` whose style all translations use, instead of drawn styles."""
    seed: int = 0
    shared: bool = False
    """Use the same drawn styles for all images."""
    size: int | None = None
    """Shorter side in pixels, to which images are resized; None: no resizing."""
    grid: bool = False


@dataclass
class Translated:
    """Result of a translation."""

    checkpoint: str
    nimg: int
    out: str
    files: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """One sentence per image that was cropped or resized, and per file whose name is not that of an image."""
    rejected: list[str] = field(default_factory=list)
    """One sentence per image that could not be translated."""


@torch.no_grad()
def translate(
    place: str,
    sources: Sequence[str],
    out: str,
    how: How,
    on_image: Callable[[int, int], None] = lambda done, total: None,
) -> Translated:
    """Translate the images at `sources` with the checkpoint at `place`, or the newest of the run there, to PNG files in `out`.

    Image `name` gives `name_0.png` and so on, `name_attention.png` if the algorithm has attention, and all give `grid.png`.
    The seed, the image's number and the style's number determine the draws. Images that cannot be read or do not fit are
    left out and listed in `rejected`. Raises ValueError for invalid options before anything is written.
    """
    url, experiment, subject, nimg = load(place)
    translator = _Translator.of(subject, experiment.algorithm.kind, how)
    if lies_in(out, folders(sources)):
        raise ValueError(f"{out} contains the images to translate; give another folder for their translations")
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


def summary(done: Translated) -> str:
    """Return a message with the checkpoint, the notes, and the number of files."""
    lines = [f"{done.checkpoint} at {done.nimg / 1000:g} kimg", *done.notes]
    return "\n".join([*lines, f"{len(done.files):,} files in {done.out}"])


@dataclass(frozen=True)
class _Translator:
    """The networks, and the options that are the same for every image."""

    subject: Subject
    algorithm: Translates
    how: How
    to: int
    size: int | None
    example: Tensor | None
    """Style [1, D] of the example."""

    @classmethod
    def of(cls, subject: Subject, kind: str, how: How) -> "_Translator":
        """Check the options; raises ValueError if they do not fit the algorithm."""
        algorithm = subject.algorithm
        if not isinstance(algorithm, Translates):
            raise ValueError(f"{kind} has one domain and cannot translate; give a run of two domains")
        if how.to.lower() not in DOMAINS:
            raise ValueError(f"to={how.to} is not a domain; give {' or '.join(DOMAINS)}")
        to = DOMAINS.index(how.to.lower())
        chosen = (how.styles is not None, how.example is not None, how.shared)
        if any(chosen) and not isinstance(algorithm, DrawsStyles):
            raise ValueError(f"{kind} makes only one translation of an image; leave out styles, example and shared")
        if how.example is not None and (how.styles is not None or how.shared):
            raise ValueError(
                "styles are either drawn or taken from the example; leave out the example, or styles and shared"
            )
        if how.styles is not None and how.styles < 1:
            raise ValueError(f"styles={how.styles} is too few; give 1 or more")
        if how.size is not None and how.size < 2 * algorithm.step:
            raise ValueError(f"size={how.size} is too small for the networks; give {2 * algorithm.step} or more")
        if algorithm.side and how.size not in (None, algorithm.side):
            raise ValueError(f"size={how.size}: these networks accept only {algorithm.side} px; leave the size out")
        bare = cls(subject, algorithm, how, to, how.size or algorithm.side, None)
        if how.example is None or not isinstance(algorithm, DrawsStyles):
            return bare
        return replace(bare, example=bare._style_of(algorithm, how.example))

    def fitted(self, pixels: Pixels) -> Pixels:
        """Return pixels uint8 [H, W, C] with sides that the networks accept; raises ImageRejectedError."""
        return fitted(pixels, self.algorithm.step, size=self.size, side=self.algorithm.side)

    def made(self, shown: Pixels, number: int) -> dict[str, Pixels]:
        """Return the translations of image `number`, and its heat map if there is one, by the suffix of their names."""
        content = _tensor(shown)
        found = {str(place): _pixels(image) for place, image in enumerate(self._images(content, number))}
        if isinstance(self.algorithm, Attends):
            heat = self.algorithm.attention(self.subject.networks, content, 1 - self.to)
            found["attention"] = heat_maps.over(shown[None], heat)[0]
        return found

    def _images(self, image: Tensor, number: int) -> Iterator[Tensor]:
        """Translate one at a time, so that the bytes do not depend on the number of translations."""
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
            raise ValueError(f"example {address} holds {len(found)} images; give one")
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
    """One row per input with its translations; images smaller than the largest are centred on the background."""
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
    # Rounded to uint8, NaN would become black.
    if not torch.isfinite(image).all():
        raise RuntimeError("a translation is not finite; the averaged networks are unusable")
    return images.to_uint8(image).numpy()[0]


def _sides(pixels: Pixels) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]}"
