"""Splitting one source into two domains: which images each domain gets, their names, and which are held out."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.sources import Source, open_source
from pipelines.sources.decoding import ImageRejectedError
from pipelines.sources.domains import Pair, by_folders, held_out_alike, side_by_side
from tests.support.made_images import encoded, pictures, png, rows, write_folder, write_tar, write_zip

ONE, TWO = (png(image) for image in pictures(2))
CYCLEGAN = ["trainA/1.png", "trainA/2.png", "testA/1.png", "trainB/7.png", "testB/8.png"]


def opened(root: Path, paths: list[str], **more: bytes) -> Source:
    return open_source(write_folder(root / "source", dict.fromkeys(paths, ONE) | more))


def numbered(path: Path, count: int) -> Source:
    np.savez(path, images=np.zeros((count, 4, 4), np.uint8))
    return open_source(str(path))


def ids(pair: Pair) -> list[list[str]]:
    return [source.index["id"].to_pylist() for source in pair]


def held_out(pair: Pair) -> list[list[str]]:
    """The names of the held-out images of each domain."""
    marks = [np.zeros(len(source), bool) if source.held_out is None else source.held_out for source in pair]
    return [
        [name for name, out in zip(names, each, strict=True) if out]
        for names, each in zip(ids(pair), marks, strict=True)
    ]


@pytest.mark.parametrize(
    "paths",
    [
        CYCLEGAN,
        [f"horse2zebra/{path}" for path in CYCLEGAN],
        [path.replace("trainA", "train/A").replace("testB", "test/b") for path in CYCLEGAN],
        [path.replace("trainA", "A/train").replace("trainB", "TrainB") for path in CYCLEGAN],
        [path.replace("test", "test_").replace("trainA", "train/images_a") for path in CYCLEGAN],
    ],
)
def test_folders_name_the_domain_and_the_split_and_counterparts_have_one_name(tmp_path: Path, paths: list[str]) -> None:
    pair = by_folders(opened(tmp_path, paths))
    names = [[name.lower().removeprefix("horse2zebra/") for name in domain] for domain in ids(pair)]
    assert [sorted(domain) for domain in names] == [
        ["test/1.png", "train/1.png", "train/2.png"],
        ["test/8.png", "train/7.png"],
    ]
    assert [[name.split("/")[-2:] for name in domain] for domain in held_out(pair)] == [
        [["test", "1.png"]],
        [["test", "8.png"]],
    ]


def test_the_images_of_a_domain_are_those_of_its_folders_in_archives_too(tmp_path: Path) -> None:
    files = {"trainB/x.png": TWO, "trainA/x.png": ONE}
    for path in (write_zip(tmp_path / "a.zip", files), write_tar(tmp_path / "a.tar", files)):
        pair = by_folders(open_source(path))
        assert ids(pair) == [["train/x.png"], ["train/x.png"]]
        for source, image in zip(pair, pictures(2), strict=True):
            np.testing.assert_array_equal(source.load(0), image)


def test_chunks_of_a_domain_are_counted_anew(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (4, 1300, 1300, 3), np.uint8)  # two do not fit a chunk of 8 MiB
    files = {f"train{'AB'[k % 2]}/{k}.bmp": encoded(Image.fromarray(image), "bmp") for k, image in enumerate(noise)}
    source = open_source(write_tar(tmp_path / "a.tar", files))
    assert source.chunks is not None and source.chunks.tolist() == [0, 1, 2, 3]
    for domain in by_folders(source):
        assert domain.chunks is not None and domain.chunks.tolist() == [0, 1]


def test_without_test_folders_nothing_is_held_out(tmp_path: Path) -> None:
    pair = by_folders(opened(tmp_path, ["A/1.png", "B/1.png"]))
    assert ids(pair) == [["1.png"], ["1.png"]] and [source.held_out for source in pair] == [None, None]


def test_domains_may_have_names_of_their_own(tmp_path: Path) -> None:
    pair = by_folders(
        opened(tmp_path, ["train/cat/1.png", "train/dog/2.png", "val/dog/3.png", "train/wild/4.png"]), ("cat", "dog")
    )
    assert ids(pair) == [["train/1.png"], ["train/2.png", "val/3.png"]]
    assert held_out(pair) == [[], ["val/3.png"]]


def test_the_folders_of_splits_and_domains_are_no_classes_but_those_below_are(tmp_path: Path) -> None:
    first, second = by_folders(
        opened(tmp_path, ["trainA/x.png", "testA/y.png", "trainB/cat/1.png", "trainB/dog/2.png", "testB/dog/3.png"])
    )
    assert (first.label_count, second.label_names) == (0, ("cat", "dog"))
    assert {row["id"]: row["label"] for row in rows(second)} == {
        "train/cat/1.png": 0,
        "train/dog/2.png": 1,
        "test/dog/3.png": 1,
    }


def test_labels_and_attributes_of_the_source_stay_with_their_images(tmp_path: Path) -> None:
    table = b"file_name,label,size\ntrainA/1.png,3,10\ntrainB/7.png,1,20\n"
    source = open_source(write_folder(tmp_path / "source", {"metadata.csv": table} | dict.fromkeys(CYCLEGAN, ONE)))
    first, second = by_folders(source)
    assert {row["id"]: (row["label"], row["size"]) for row in rows(first)} == {
        "test/1.png": (-1, None),
        "train/1.png": (3, 10),
        "train/2.png": (-1, None),
    }
    assert {row["id"]: row["label"] for row in rows(second)} == {"test/8.png": -1, "train/7.png": 1}


def test_skipped_files_are_listed_with_their_domain_or_with_both(tmp_path: Path) -> None:
    folder = write_folder(
        tmp_path / "source", dict.fromkeys(CYCLEGAN, ONE) | {"trainB/notes.txt": b"", "LICENSE.txt": b""}
    )
    (Path(folder) / "cover.png").write_bytes(ONE)
    listed = [[name for name, _ in source.skipped] for source in by_folders(open_source(folder))]
    assert listed == [["LICENSE.txt", "cover.png"], ["LICENSE.txt", "trainB/notes.txt", "cover.png"]]


@pytest.mark.parametrize(
    ("paths", "sentence"),
    [
        (
            ["trainA/1.png", "train/2.png"],
            r"has no folder trainB or B with images \(its folders: train, trainA\); pass --domains NAME,NAME",
        ),
        (["1.png", "2.png"], r"has no folder trainA or A with images \(its folders: none\)"),
        (["testA/1.png", "trainB/2.png"], "all images of domain A are in folders of another split than train"),
    ],
)
def test_a_domain_without_images_or_without_training_images_is_refused(
    tmp_path: Path, paths: list[str], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        by_folders(opened(tmp_path, paths))


def test_images_side_by_side_are_cut_into_a_left_and_a_right_half(tmp_path: Path) -> None:
    wide = pictures(2, height=4, width=10)
    files = {"train/1.png": png(wide[0]), "val/2.png": png(wide[1])}
    pair = side_by_side(open_source(write_folder(tmp_path / "source", files)))
    for source, halves in zip(pair, (wide[:, :, :5], wide[:, :, 5:]), strict=True):
        assert source.label_count == 0
        for row in range(2):
            np.testing.assert_array_equal(source.load(row), halves[row])
    assert ids(pair) == [["train/1.png", "val/2.png"]] * 2 and held_out(pair) == [["val/2.png"]] * 2


def test_an_odd_width_cannot_be_cut(tmp_path: Path) -> None:
    files = {"1.png": png(pictures(1, height=4, width=9)[0])}
    for source in side_by_side(open_source(write_folder(tmp_path / "source", files))):
        with pytest.raises(ImageRejectedError, match="its width of 9 px is odd"):
            source.load(0)


def test_halves_domains_and_other_held_out_images_have_fingerprints_of_their_own(tmp_path: Path) -> None:
    folder = opened(tmp_path, CYCLEGAN)
    one, other = (numbered(tmp_path / f"{number}.npz", 20) for number in range(2))
    sources = [folder, *by_folders(folder), *side_by_side(folder), one]
    sources += [held_out_alike((one, other), 0.5, seed)[0] for seed in range(2)]
    assert len({source.fingerprint for source in sources}) == len(sources)
    assert by_folders(folder)[0].fingerprint == by_folders(folder)[0].fingerprint


def test_names_that_both_have_are_held_out_in_both_or_in_neither(tmp_path: Path) -> None:
    first, second = (
        opened(tmp_path / "1", [f"{number:03d}.png" for number in range(100)]),
        opened(tmp_path / "2", [f"{number:03d}.png" for number in range(40, 160)]),
    )
    out = [set(names) for names in held_out(held_out_alike((first, second), 0.1, seed=0))]
    common = {f"{number:03d}.png" for number in range(40, 100)}
    assert out[0] & common == out[1] & common and len(out[0] & common) == 6
    assert (len(out[0]), len(out[1])) == (10, 12)
    assert held_out(held_out_alike((first, second), 0.1, seed=1)) != held_out(
        held_out_alike((first, second), 0.1, seed=0)
    )
