"""Pages of images in the sizes that MLflow shows: whole ones enlarged, a tile of its grid, and the picture of a note."""

from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

WHOLE_PX = 512
"""Smaller pages are enlarged by the largest integer factor that keeps them within this size."""
TILE_PX = 512
"""Twice the 256 px to which MLflow's image grid reduces a page."""
STRIP_PX = 44
NOTE_PX = 330
"""Side of each page in a note, of which two stand side by side."""


class FigureError(ValueError):
    """Bytes that are not an image."""


def decode(png: bytes) -> "Image":
    """The page in `png`, enlarged if it is small; raises FigureError if the bytes are no image."""
    import PIL.Image

    try:
        image: Image = PIL.Image.open(BytesIO(png))
        image.load()
    except (OSError, ValueError, SyntaxError) as error:
        raise FigureError(repr(error)) from error
    factor = WHOLE_PX // max(image.size)
    if factor > 1:
        image = image.resize((image.width * factor, image.height * factor), PIL.Image.Resampling.NEAREST)
    return image


def encode(image: "Image") -> bytes:
    """The image as PNG."""
    target = BytesIO()
    image.save(target, "PNG")
    return target.getvalue()


def tile(page: "Image", text: str, whole: bool = False) -> "Image":
    """The upper left of a page, magnified so that single images are seen in a small square, under a strip with `text`.

    `whole` shows all of the page, as charts need it.
    """
    import PIL.Image
    from PIL import ImageDraw

    found = PIL.Image.new("RGB", (TILE_PX, TILE_PX), "white")
    ImageDraw.Draw(found).text((6, 4), text, "black", font_size=STRIP_PX - 12)
    side = TILE_PX - STRIP_PX
    part = page.convert("RGB") if whole else _part(page, side, 0.5 if min(page.size) > side else 1.0)
    part.thumbnail((TILE_PX, side), PIL.Image.Resampling.LANCZOS)
    found.paste(part, ((TILE_PX - part.width) // 2, STRIP_PX))
    return found


def side_by_side(pages: Sequence["Image"]) -> "Image":
    """The upper squares of pages, in one row."""
    import PIL.Image

    gap = 12
    found = PIL.Image.new("RGB", (len(pages) * (NOTE_PX + gap) - gap, NOTE_PX), "white")
    for index, page in enumerate(pages):
        found.paste(_part(page, NOTE_PX, 1.0), (index * (NOTE_PX + gap), 0))
    return found


def _part(page: "Image", side: int, share: float) -> "Image":
    """The upper left square with `share` of the page's shorter side, as an RGB image of `side` px."""
    import PIL.Image

    cut = round(min(page.size) * share)
    part = page.convert("RGB").crop((0, 0, cut, cut))
    return part.resize((side, side), PIL.Image.Resampling.LANCZOS if cut >= side else PIL.Image.Resampling.NEAREST)
