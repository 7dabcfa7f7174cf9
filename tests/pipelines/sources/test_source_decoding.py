"""Decoding of unusual image files, the squares made of them, and the reasons for which images are rejected."""

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from pipelines.sources import decoding
from pipelines.sources.decoding import DAMAGED_EXIF, FIRST_FRAME, ImageRejectedError, decode, squared
from tests.support.made_images import encoded, pictures, png

COLOUR = pictures(1)[0]
GRAY = COLOUR[:, :, 0]


def gray_of(data: bytes) -> list[int]:
    return decode(data, 1)[0, :, 0].tolist()


# --- modes -------------------------------------------------------------------------------------------


def test_gray_becomes_colour_and_colour_becomes_gray_as_asked() -> None:
    np.testing.assert_array_equal(decode(png(GRAY), 3), np.repeat(GRAY[:, :, None], 3, 2))
    np.testing.assert_array_equal(decode(png(GRAY), 1)[:, :, 0], GRAY)
    luma = COLOUR @ np.array([0.299, 0.587, 0.114])
    assert np.abs(decode(png(COLOUR), 1)[:, :, 0] - luma).max() <= 1


def test_pixels_are_decoded_as_the_file_that_holds_them_is() -> None:
    alpha = np.dstack([COLOUR, np.full_like(GRAY, 100)])
    for pixels in (GRAY, COLOUR, alpha):
        for channels in (1, 3):
            np.testing.assert_array_equal(decode(pixels, channels), decode(png(pixels), channels))
    np.testing.assert_array_equal(decode(GRAY[:, :, None], 3), decode(GRAY, 3))


def test_transparency_is_put_on_white() -> None:
    pixels = np.dstack([np.zeros((1, 3, 3), np.uint8), np.array([[0, 255, 128]], np.uint8)])
    np.testing.assert_array_equal(decode(png(pixels), 3)[0, :, 0], [255, 0, 127])
    assert gray_of(encoded(Image.fromarray(pixels[:, :, [0, 3]], "LA"))) == [255, 0, 127]


def test_a_palette_with_a_transparent_colour_is_resolved() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    np.testing.assert_array_equal(decode(encoded(image), 3)[0], [[10, 20, 30], [40, 50, 60]])
    np.testing.assert_array_equal(decode(encoded(image, transparency=1), 3)[0], [[10, 20, 30], [255] * 3])


def test_sixteen_bits_of_gray_become_the_nearest_eight() -> None:
    values = np.array([[0, 128, 129, 32896, 65535]], np.uint16)
    expected = np.round(values[0] / 257).astype(np.uint8)
    assert gray_of(encoded(Image.fromarray(values))) == expected.tolist()
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(values)), 3)[0, :, 2], expected)


def test_sixteen_bits_of_colour_become_their_higher_eight() -> None:
    values = np.random.default_rng(0).integers(0, 65536, (4, 5, 3), np.uint16)
    np.testing.assert_array_equal(decode(imagecodecs.png_encode(values), 3), values >> 8)


def test_pixels_without_a_range_are_rejected() -> None:
    for values in (np.ones((4, 4), np.float32), np.full((4, 4), 70000, np.int32)):
        with pytest.raises(ImageRejectedError, match="no fixed range"):
            decode(encoded(Image.fromarray(values), "tiff"), 1)


def test_cmyk_is_converted() -> None:
    image = Image.new("CMYK", (4, 4), (0, 255, 255, 0))
    for kind in ("tiff", "jpeg"):
        red = decode(encoded(image, kind), 3)[0, 0]
        assert red[0] > 200 and red[1] < 60 and red[2] < 60


def test_one_bit_images_are_black_and_white() -> None:
    image = Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")
    assert gray_of(encoded(image)) == [0, 255]


@pytest.mark.parametrize(
    ("orientation", "shown"),
    [(2, np.fliplr), (3, lambda p: np.rot90(p, 2)), (6, lambda p: np.rot90(p, -1)), (8, np.rot90)],
)
def test_the_orientation_in_exif_is_applied(orientation: int, shown) -> None:  # type: ignore[no-untyped-def]
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = decode(encoded(Image.fromarray(COLOUR), exif=exif), 3)
    np.testing.assert_array_equal(turned, shown(COLOUR))


def test_damaged_exif_does_not_cost_the_image_and_says_so() -> None:
    notes: list[str] = []
    data = encoded(Image.fromarray(COLOUR), exif=b"Exif\0\0garbage")
    np.testing.assert_array_equal(decode(data, 3, notes), COLOUR)
    assert notes == [DAMAGED_EXIF]


@pytest.mark.parametrize("kind", ["gif", "webp", "png"])
def test_an_animation_gives_its_first_frame_and_says_so(kind: str) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue", "lime")]
    options = {"lossless": True} if kind == "webp" else {}
    notes: list[str] = []
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    np.testing.assert_array_equal(decode(data, 3, notes)[0, 0], [255, 0, 0])
    assert notes == [FIRST_FRAME]
    decode(encoded(frames[0], kind), 3, notes)
    assert notes == [FIRST_FRAME]


# --- rejected images ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "gif", "bmp"])
def test_a_truncated_file_is_rejected(kind: str) -> None:
    whole = encoded(Image.fromarray(pictures(1, 64, 64)[0]), kind)
    assert decode(whole, 3).shape == (64, 64, 3)
    with pytest.raises(ImageRejectedError, match=r"cannot be decoded|not an image"):
        decode(whole[: len(whole) // 2], 3)


def test_bytes_that_are_no_image_are_rejected() -> None:
    with pytest.raises(ImageRejectedError, match="not an image that Pillow can read"):
        decode(b"hello, world", 3)
    with pytest.raises(ImageRejectedError, match="the file is empty"):
        decode(b"", 3)


def test_a_drawing_that_another_program_would_have_to_run_is_rejected() -> None:
    with pytest.raises(ImageRejectedError, match="not an image"):
        decode(encoded(Image.fromarray(COLOUR), "eps"), 3)


def test_a_decompression_bomb_is_rejected_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = png(COLOUR)
    monkeypatch.setattr(decoding, "MAX_PIXELS", 29)
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("it was decoded"))
    with pytest.raises(ImageRejectedError, match="5x6 px is more than 29 pixels"):
        decode(data, 3)


def test_a_bomb_that_the_decoder_itself_sees_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 14)
    with pytest.raises(ImageRejectedError, match="more than 89,478,485 pixels"):
        decode(png(COLOUR), 3)


# --- squares -----------------------------------------------------------------------------------------


def test_shorter_side_takes_the_central_square_and_shrinks_it() -> None:
    pixels = np.arange(4 * 10, dtype=np.uint8).reshape(4, 10, 1)
    np.testing.assert_array_equal(squared(pixels, 4, "shorter_side"), pixels[:, 3:7])
    halves = np.zeros((8, 20, 1), np.uint8)
    halves[:, 6:10] = 240  # the left half of the central 8x8
    np.testing.assert_array_equal(squared(halves, 2, "shorter_side")[:, :, 0] > 120, [[True, False]] * 2)


def test_center_crop_takes_the_central_pixels_as_they_are() -> None:
    pixels = pictures(1, 9, 12)[0]
    np.testing.assert_array_equal(squared(pixels, 4, "center_crop"), pixels[2:6, 4:8])


@pytest.mark.parametrize("square", ["shorter_side", "center_crop"])
def test_what_is_too_small_is_rejected(square: decoding.Square) -> None:
    assert squared(pictures(1, 8, 10)[0], 8, square).shape == (8, 8, 3)
    with pytest.raises(ImageRejectedError, match="too small: 10x7 px for resolution 8"):
        squared(pictures(1, 7, 10)[0], 8, square)


def test_pad_puts_a_small_image_unchanged_at_the_centre_of_black() -> None:
    padded = squared(np.full((28, 28, 1), 7, np.uint8), 32, "pad")
    assert padded.shape == (32, 32, 1)
    assert (padded[2:30, 2:30] == 7).all()
    assert padded.sum() == 7 * 28 * 28


def test_pad_keeps_the_whole_of_a_wide_image() -> None:
    padded = squared(np.full((8, 32, 3), 200, np.uint8), 16, "pad")
    assert (np.abs(padded[7:9].astype(int) - 200) < 5).all()
    assert (padded[:3] == 0).all() and (padded[-3:] == 0).all()


def test_larger_images_are_shrunk_and_keep_their_mean() -> None:
    ramp = np.tile(np.linspace(0, 255, 64).astype(np.uint8)[:, None, None], (1, 64, 3))
    small = squared(ramp, 8, "shorter_side")
    assert small.shape == (8, 8, 3)
    assert abs(small.mean() - ramp.mean()) < 1
