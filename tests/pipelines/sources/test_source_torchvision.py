"""Datasets of torchvision as sources, and the import of a torchvision that was built for another torch."""

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from alae_core.torchvision_import import torchvision
from pipelines.sources import open_source, torchvision_datasets
from pipelines.sources.decoding import ImageRejectedError
from tests.support.made_images import pictures, png, write_folder, write_mnist

pytestmark = pytest.mark.slow

PICTURES = pictures(4, 28, 28)
GRAY = PICTURES[:, :, :, 0]


class Faces:
    """An image dataset with attributes, like CelebA."""

    attr_names = ("smile", "age", "")
    attr = np.array([[0, 30], [1, 40]])

    def __init__(self, root: str, target: str = "attr", split: int = 0) -> None:
        if split:
            raise RuntimeError("Dataset not found or corrupted.")
        self.target = target

    def __len__(self) -> int:
        return 2

    def __getitem__(self, row: int) -> tuple[Any, Any]:
        image = Image.fromarray(PICTURES[row])
        return image, {"attr": self.attr[row], "identity": np.int64(5 - row), "box": "1 2", "none": None}[self.target]


@pytest.fixture
def faces(monkeypatch: pytest.MonkeyPatch) -> type[Faces]:
    """Make `torchvision:CelebA` stand for the small dataset."""
    monkeypatch.setattr(torchvision().datasets, "CelebA", Faces)
    torchvision_datasets._dataset.cache_clear()
    return Faces


def test_a_dataset_gives_its_images_labels_and_classes(tmp_path: Path) -> None:
    source = open_source(f"torchvision:MNIST?root={write_mnist(tmp_path, GRAY)}&train=false")
    assert (len(source), source.channels, source.kind) == (4, 1, "torchvision dataset")
    assert source.index["label"].to_pylist() == [7, 0, 9, 1]
    assert source.label_names[7] == "7 - seven" and source.label_count == 10
    for row, picture in enumerate(GRAY):
        np.testing.assert_array_equal(source.load(row)[:, :, 0], picture)
    assert open_source(source.name, channels=3).load(0).shape == (28, 28, 3)


def test_a_dataset_of_image_files_is_read_from_them(tmp_path: Path) -> None:
    files = {"cat/a.png": png(PICTURES[0]), "dog/b.png": png(PICTURES[1])}
    source = open_source(f"torchvision:ImageFolder?root={write_folder(tmp_path / 'a', files)}")
    assert source.label_names == ("cat", "dog") and source.index["label"].to_pylist() == [0, 1]
    np.testing.assert_array_equal(source.load(1), PICTURES[1])
    (tmp_path / "a" / "cat" / "a.png").write_bytes(png(PICTURES[0])[:60])
    with pytest.raises(ImageRejectedError, match="the dataset cannot read it"):
        source.load(0)


def test_a_vector_of_targets_with_names_is_attributes(faces: type[Faces], monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_source("torchvision:CelebA?root=x").attributes.to_pydict() == {"smile": [0, 1], "age": [30, 40]}
    monkeypatch.setattr(faces, "attr", np.array([[0, 1], [1, 1]]))
    torchvision_datasets._dataset.cache_clear()
    source = open_source("torchvision:CelebA?root=x")
    assert source.attributes.to_pydict() == {"smile": [False, True], "age": [True, True]}
    assert source.label_count == 0 and source.channels == 3


def test_labels_that_no_list_holds_are_read_from_the_items(faces: type[Faces], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faces, "targets", [0, 0], raising=False)
    source = open_source("torchvision:CelebA?root=x&target=identity")
    assert source.index["label"].to_pylist() == [5, 4] and source.attributes.num_columns == 0


@pytest.mark.parametrize("target", ["box", "none"])
def test_other_targets_are_left_out(faces: type[Faces], target: str) -> None:
    source = open_source(f"torchvision:CelebA?root=x&target={target}")
    assert source.label_count == 0 and source.attributes.num_columns == 0


def test_the_fingerprint_follows_pixels_and_labels_and_not_the_place(tmp_path: Path) -> None:
    roots = [write_mnist(tmp_path / name, GRAY) for name in ("a", "b", "c", "d")]
    for root, name in ((roots[2], "train-images-idx3-ubyte"), (roots[3], "train-labels-idx1-ubyte")):
        path = Path(root) / "MNIST" / "raw" / name
        path.write_bytes(path.read_bytes()[:-1] + b"\2")
    prints = [open_source(f"torchvision:MNIST?root={root}").fingerprint for root in roots]
    assert prints[0] == prints[1] and len(set(prints)) == 3


def test_the_fingerprint_of_image_files_follows_their_pixels(tmp_path: Path) -> None:
    sources = [
        f"torchvision:ImageFolder?root={write_folder(tmp_path / str(number), {'a/a.png': png(PICTURES[number])})}"
        for number in range(2)
    ]
    assert len({open_source(source).fingerprint for source in sources}) == 2


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("torchvision:CIFAR", r"torchvision has no dataset 'CIFAR'; it has CIFAR10"),
        ("torchvision:qqq", r"torchvision has no dataset 'qqq'; it has .*MNIST"),
        ("torchvision:MNIST?root=nowhere", r"cannot be opened: Dataset not found.*root=FOLDER names the"),
        ("torchvision:MNIST?path=x", r"cannot be opened: .*unexpected keyword argument 'path'"),
        ("torchvision:CelebA?root=x&split=1", r"cannot be opened: Dataset not found.*download=true fetches them"),
    ],
)
def test_a_dataset_that_cannot_be_opened_says_why(faces: type[Faces], source: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        open_source(source)


def test_a_dataset_whose_first_image_is_damaged_is_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, {"cat/a.png": b"x"})
    with pytest.raises(ValueError, match=r"its first image cannot be read: .*; repair its files"):
        open_source(f"torchvision:ImageFolder?root={folder}")


def test_a_dataset_of_no_images_is_refused(faces: type[Faces], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faces, "__getitem__", lambda self, row: ("a video", 1))
    with pytest.raises(ValueError, match="its items are not pairs of an image and a target"):
        open_source("torchvision:CelebA?root=x")


# --- the import --------------------------------------------------------------------------------------

MISMATCHED = """
import torch
from torchvision import parts
for name in ("nms", "qnms"):
    torch.library.register_fake(f"torchvision::{name}", lambda dets, scores, iou_threshold: None)
parts.whole = True
"""
MENDED = """
from alae_core.torchvision_import import torchvision as mended
try:
    import torchvision
except RuntimeError as error:
    print(error)
print(mended().parts.whole, mended() is mended())
"""


def test_a_mismatched_build_gets_the_operators_that_only_detection_needs(tmp_path: Path) -> None:
    """The stand-in package has no compiled operators and starts as torchvision does."""
    write_folder(tmp_path / "torchvision", {"__init__.py": MISMATCHED.encode(), "parts.py": b""})
    root = str(Path(__file__).parents[3])
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{root}"}
    command = [sys.executable, "-c", MENDED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path, env=environment)
    assert done.stdout.splitlines() == ["operator torchvision::nms does not exist", "True True"], done.stderr


def test_an_import_that_works_or_fails_otherwise_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(torchvision(), ModuleType) and torchvision() is torchvision()
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(ImportError):
        torchvision()
    torchvision_datasets._dataset.cache_clear()
    with pytest.raises(ValueError, match="needs the package torchvision: pip install torchvision"):
        open_source("torchvision:MNIST?root=x")
