"""Layout and pixel values of the image pages, on arrays with known pixels."""

import io

import numpy as np
import pytest
from PIL import Image

from pipelines.pictures.grids import PAPER, THIN_PX, WIDE_PX, mixing_page, png_bytes, reconstruction_page, sample_page


def flat(*values: int, size: int = 32, channels: int = 1) -> np.ndarray:
    """One constant image for each of `values`."""
    return np.stack([np.full((size, size, channels), value, np.uint8) for value in values])


def test_samples_fill_rows_left_to_right_and_the_rest_stays_paper():
    page = sample_page(flat(10, 20, 30, size=128), columns=2)
    step = 512 + THIN_PX
    assert page.shape == (2 * 512 + THIN_PX, 2 * 512 + THIN_PX, 1)
    assert (page[:512, :512] == 10).all()
    assert (page[:512, step:] == 20).all()
    assert (page[step:, :512] == 30).all()
    assert (page[step:, step:] == PAPER).all()
    assert (page[512:step] == PAPER).all()
    assert (page[:, 512:step] == PAPER).all()


def test_small_images_are_magnified_without_interpolation():
    image = np.arange(16, dtype=np.uint8).reshape(1, 4, 4, 1)
    page = sample_page(np.repeat(image, 2, 0), columns=2)
    factor = 1024 // 8
    assert page.shape == (4 * factor, 8 * factor + THIN_PX, 1)
    np.testing.assert_array_equal(page[::factor, : 4 * factor : factor], image[0])
    assert len(np.unique(page[: 4 * factor, : 4 * factor])) == 16


@pytest.mark.parametrize("size", [4, 8, 16, 32, 64, 128])
def test_a_page_of_eight_columns_is_about_1024_wide_at_any_resolution(size):
    assert sample_page(flat(*range(8), size=size), columns=8).shape[1] == 1024 + 7 * THIN_PX


def test_large_images_are_averaged_down_to_a_page_of_2048():
    checker = np.indices((1024, 1024)).sum(0) % 2 * 200
    images = np.repeat(checker.astype(np.uint8)[None, :, :, None], 8, 0)
    page = sample_page(images, columns=8)
    assert page.shape == (256, 2048 + 7 * THIN_PX, 1)
    assert (page[:, :256] == 100).all()


def test_fewer_images_than_columns_leave_no_empty_columns():
    assert sample_page(flat(1, 2), columns=8).shape[1] == 1024 + THIN_PX


def test_reconstructions_stand_right_of_their_originals_and_pairs_apart():
    page = reconstruction_page(flat(1, 2, 3, size=256), flat(101, 102, 103, size=256), columns=4)
    lefts = [0, 256 + THIN_PX, 512 + THIN_PX + WIDE_PX, 768 + 2 * THIN_PX + WIDE_PX]
    assert page.shape == (512 + THIN_PX, lefts[3] + 256, 1)
    assert [int(page[0, left, 0]) for left in lefts] == [1, 101, 2, 102]
    assert [int(page[-1, left + 255, 0]) for left in lefts] == [3, 103, PAPER, PAPER]
    assert (page[:256, 512 + THIN_PX : lefts[2]] == PAPER).all()


def test_an_odd_number_of_columns_never_splits_a_pair():
    page = reconstruction_page(flat(1, 2), flat(3, 4), columns=3)
    assert page.shape == (1024 + THIN_PX, 1024 + THIN_PX, 1)
    assert page[0, -1, 0] == 3
    assert page[-1, 0, 0] == 2


def test_mixed_images_stand_where_their_source_row_and_destination_column_cross():
    page = mixing_page(flat(1, 2, size=256), flat(11, 12, 13, size=256), flat(21, 22, 23, 24, 25, 26, size=256))
    tops = [0, 256 + WIDE_PX, 512 + WIDE_PX + THIN_PX]
    lefts = [*tops, 768 + WIDE_PX + 2 * THIN_PX]
    assert page.shape == (tops[-1] + 256, lefts[-1] + 256, 1)
    seen = [[int(page[top + 255, left, 0]) for left in lefts] for top in tops]
    assert seen == [[PAPER, 11, 12, 13], [1, 21, 22, 23], [2, 24, 25, 26]]


def test_colour_is_kept():
    image = np.zeros((1, 8, 8, 3), np.uint8)
    image[..., 0], image[..., 2] = 200, 50
    page = sample_page(image)
    assert page.shape == (1024, 1024, 3)
    assert (page == [200, 0, 50]).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_the_png_holds_the_page_and_is_the_same_bytes_every_time(channels):
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, channels), np.uint8)
    page = sample_page(images, columns=2)
    stored = Image.open(io.BytesIO(png_bytes(page)))
    assert stored.mode == {1: "L", 3: "RGB"}[channels]
    np.testing.assert_array_equal(np.asarray(stored).reshape(page.shape), page)
    assert png_bytes(page) == png_bytes(sample_page(images, columns=2))


def test_pages_of_another_form_are_refused_by_name():
    with pytest.raises(ValueError, match=r"images are float32 .* expected uint8"):
        sample_page(flat(1).astype(np.float32))
    with pytest.raises(ValueError, match="N at least 1"):
        sample_page(flat(1)[:0])
    with pytest.raises(ValueError, match="columns=0"):
        sample_page(flat(1), columns=0)
    with pytest.raises(ValueError, match="differ in shape"):
        reconstruction_page(flat(1, 2), flat(1))
    with pytest.raises(ValueError, match=r"one image for each of 1 sources .* and 2 destinations"):
        mixing_page(flat(1), flat(1, 2), flat(1))
    with pytest.raises(ValueError, match="expected uint8 \\[H, W, 1 or 3\\]"):
        png_bytes(np.zeros((4, 4, 2), np.uint8))
