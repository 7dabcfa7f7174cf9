"""Encoded columns: round trips, files that any reader can open, and errors that name the damage."""

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from pipelines.data.format import codec

SIDES = pytest.mark.parametrize("side", [4, 16, 128])
CHANNELS = pytest.mark.parametrize("channels", [1, 3])


def pictures(count: int, side: int, channels: int) -> codec.Pixels:
    """Different smooth ramps with some noise, uint8 [count, side, side, channels]."""
    noise = np.random.default_rng(0).integers(0, 32, (count, side, side, channels))
    ramp = np.add.outer(np.arange(side), np.arange(side))[None, :, :, None]
    return (ramp + noise + 7 * np.arange(count)[:, None, None, None]).astype(np.uint8)


def column(images: codec.Pixels, encoding: codec.Encoding) -> pa.Array:
    kind = pa.binary(images[0].size) if encoding == "raw" else pa.binary()
    return pa.array([codec.encode(image, encoding) for image in images], kind)


def damaged(stored: pa.Array, row: int, value: bytes) -> pa.Array:
    values = stored.to_pylist()
    values[row] = value
    return pa.array(values, pa.binary())


@SIDES
@CHANNELS
@pytest.mark.parametrize("encoding", ["raw", "png"])
def test_a_lossless_column_gives_back_the_rows_asked_in_the_order_asked(
    side: int, channels: int, encoding: codec.Encoding
) -> None:
    images, rows = pictures(7, side, channels), np.array([5, 0, 6, 0])
    found = codec.decode_many(column(images, encoding), rows, side, channels, encoding)
    np.testing.assert_array_equal(found, images[rows])


def test_more_images_than_are_unpacked_together_come_out_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    images = pictures(7, 16, 3)
    monkeypatch.setattr(codec, "_TOGETHER_BYTES", 2 * images[0].nbytes)
    np.testing.assert_array_equal(codec.decode_many(column(images, "png"), np.arange(7), 16, 3, "png"), images)


@SIDES
@CHANNELS
def test_any_reader_opens_an_encoded_image_and_finds_the_same_pixels(side: int, channels: int) -> None:
    image = pictures(1, side, channels)[0]
    for encoding in ("png", "jpeg"):
        stored = column(image[None], encoding)
        with Image.open(io.BytesIO(stored[0].as_py())) as file:
            assert file.format == encoding.upper()
            pixels = np.asarray(file).reshape(image.shape)
        np.testing.assert_array_equal(codec.decode_many(stored, np.array([0]), side, channels, encoding)[0], pixels)
        assert encoding == "jpeg" or (pixels == image).all()


@CHANNELS
def test_a_jpeg_stays_close_to_its_image_in_full_colour_resolution(channels: int) -> None:
    image = pictures(1, 64, channels)
    found = codec.decode_many(column(image, "jpeg"), np.array([0]), 64, channels, "jpeg")
    assert 0 < np.abs(found.astype(int) - image).mean() < 5
    if channels == 3:
        with Image.open(io.BytesIO(codec.encode(image[0], "jpeg"))) as file:
            assert {(across, down) for _, across, down, _ in file.layer} == {(1, 1)}  # type: ignore[attr-defined]


@pytest.mark.parametrize("encoding", ["png", "jpeg"])
def test_an_image_has_the_same_bytes_each_time_and_a_png_is_smaller_than_its_pixels(encoding: codec.Encoding) -> None:
    image = pictures(1, 128, 3)[0]
    once = codec.encode(image, encoding)
    assert once == codec.encode(np.asfortranarray(image), encoding)
    assert len(once) < image.nbytes


@pytest.mark.parametrize("encoding", ["raw", "png", "jpeg"])
def test_a_slice_of_a_column_and_a_large_column_are_read_in_place(encoding: codec.Encoding) -> None:
    images = pictures(6, 16, 3)
    stored = column(images, encoding)
    expected = codec.decode_many(stored, np.array([3, 2]), 16, 3, encoding)
    np.testing.assert_array_equal(codec.decode_many(stored[2:], np.array([1, 0]), 16, 3, encoding), expected)
    if encoding != "raw":
        large = stored.cast(pa.large_binary())
        np.testing.assert_array_equal(codec.decode_many(large[2:], np.array([1, 0]), 16, 3, encoding), expected)


@pytest.mark.parametrize("encoding", ["raw", "png", "jpeg"])
def test_threads_fill_one_array_together(encoding: codec.Encoding) -> None:
    images = pictures(40, 32, 3)
    stored = codec.values(column(images, encoding))
    found = np.zeros_like(images)
    order = np.random.default_rng(1).permutation(40)
    with ThreadPoolExecutor(4) as threads:
        parts = [order[first::4] for first in range(4)]
        list(threads.map(lambda rows: codec.decode_into(found, rows, stored, rows, encoding), parts))
    np.testing.assert_array_equal(found, codec.decode_many(column(images, encoding), np.arange(40), 32, 3, encoding))


def test_damage_to_a_png_is_named_whatever_byte_it_hits() -> None:
    images = pictures(3, 8, 3)
    stored = column(images, "png")
    whole = stored[1].as_py()
    unseen = {
        *range(33, 37),
        *range(len(whole) - 16, len(whole)),
    }  # the length and checksums of chunks, which decoding does not check
    for position in range(len(whole)):
        changed = whole[:position] + bytes([whole[position] ^ 0x40]) + whole[position + 1 :]
        broken = damaged(stored, 1, changed)
        if position in unseen:
            np.testing.assert_array_equal(codec.decode_many(broken, np.arange(3), 8, 3, "png"), images)
        else:
            with pytest.raises(codec.DamagedImageError, match="row 1 "):
                codec.decode_many(broken, np.arange(3), 8, 3, "png")


@pytest.mark.parametrize("encoding", ["png", "jpeg"])
@pytest.mark.parametrize("size", [0, 20, 60, -5])
def test_a_truncated_image_is_named(encoding: codec.Encoding, size: int) -> None:
    stored = column(pictures(2, 32, 3), encoding)
    broken = damaged(stored, 1, stored[1].as_py()[:size])
    with pytest.raises(codec.DamagedImageError, match=r"row 1 (is|does not begin)"):
        codec.decode_many(broken, np.array([0, 1]), 32, 3, encoding)


@pytest.mark.parametrize("encoding", ["png", "jpeg"])
def test_an_image_of_another_size_or_of_other_channels_is_named(encoding: codec.Encoding) -> None:
    stored = column(pictures(2, 16, 3), encoding)
    for other in (pictures(1, 32, 3), pictures(1, 16, 1)):
        broken = damaged(stored, 0, codec.encode(other[0], encoding))
        with pytest.raises(codec.DamagedImageError, match="row 0 "):
            codec.decode_many(broken, np.array([0]), 16, 3, encoding)


def test_a_png_of_another_writer_is_refused() -> None:
    file = io.BytesIO()
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(file, format="png")
    with pytest.raises(codec.DamagedImageError, match="row 0 is a PNG with missing rows or another filter"):
        codec.decode_many(pa.array([file.getvalue()], pa.binary()), np.array([0]), 16, 3, "png")
