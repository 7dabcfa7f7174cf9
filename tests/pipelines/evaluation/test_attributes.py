"""Classifiers of a dataset's attributes: the attributes they cover, their accuracy, and their storage."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from alae_core.metrics.classifier import train_attributes
from pipelines.data.format.shards import Dataset
from pipelines.data.pack.pack import pack
from pipelines.evaluation.features import attributes
from pipelines.evaluation.features.attributes import binary_labels, binary_values, ensure_attributes
from tests.support.attributes import bars, packed_bars
from tests.support.made_images import png


def description(dataset: Dataset) -> dict[str, Any]:
    (path,) = Path(dataset.url, "extractors").glob("attributes_r8_*.json")
    return json.loads(path.read_text())


def test_attributes_are_those_of_exactly_two_values(barred: Dataset) -> None:
    assert barred.manifest.attributes.keys() == {"down", "bright", "third", "always", "weight"}
    assert binary_values(barred) == {"down": (0, 1), "bright": (3, 7)}


def test_they_are_told_of_unseen_images_and_described_beside_the_weights(barred: Dataset) -> None:
    found = ensure_attributes(barred)
    about = description(barred)
    assert found.names == ("down", "bright")
    assert about["values"] == {"down": [0, 1], "bright": [3, 7]}
    assert about["accuracies"] == found.accuracies and min(about["accuracies"].values()) > 0.9
    assert about["accuracy_on"] == "validation split" and about["trained_on"] == "train split, 270 images"
    split = barred.split("validation")
    rows = np.arange(split.rows)
    told = found.extractor.classes(torch.from_numpy(split.read(8, rows))) > 0.5
    truth = torch.tensor([split.attribute("down", rows), [value == 7 for value in split.attribute("bright", rows)]]).T
    assert (told == truth).float().mean(0).tolist() == pytest.approx(list(found.accuracies.values()))


def test_they_are_trained_once(barred: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ensure_attributes(barred)
    monkeypatch.setattr(attributes, "train_attributes", None)
    again = ensure_attributes(Dataset.open(barred.url))
    images = torch.from_numpy(barred.split("train").read(8, np.arange(5)))
    assert torch.equal(first.extractor.classes(images), again.extractor.classes(images))
    assert first.extractor.classes(images).dtype == torch.float64
    assert (first.extractor.digest, first.values) == (description(barred)["sha256"], again.values)


def test_other_images_get_a_classifier_of_their_own_and_changed_weights_are_refused(tmp_path: Path) -> None:
    dataset = packed_bars(tmp_path, fraction=0.0)
    ensure_attributes(dataset)
    about = description(dataset)
    assert about["accuracy_on"] == "a tenth of the train split, held out"
    path = Path(dataset.url, "extractors", about["weights"])
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(RuntimeError, match=r"attributes_.*safetensors is not the file .*json describes; delete both"):
        ensure_attributes(dataset)
    (tmp_path / "other").mkdir()
    assert packed_bars(tmp_path / "other", **bars(seed=1)).identity != dataset.identity


@pytest.fixture
def with_gaps(tmp_path: Path) -> Dataset:
    """Twelve images, each with its number as its shade; one in three has no value."""
    table = {
        "image": [png(np.full((8, 8), row, np.uint8)) for row in range(12)],
        "old": pa.array([None if row % 3 == 0 else row % 3 == 1 for row in range(12)], pa.bool_()),
        "size": pa.array([None if row % 3 == 1 else row % 3 for row in range(12)], pa.int64()),
    }
    pq.write_table(pa.table(table), tmp_path / "faces.parquet")
    pack(str(tmp_path / "faces.parquet"), str(tmp_path / "packed"), resolution=8, rows_per_group=5, rows_per_shard=5)
    return Dataset.open(str(tmp_path / "packed"))


def test_values_are_read_in_the_order_of_the_rows_and_missing_ones_are_none(with_gaps: Dataset) -> None:
    split = with_gaps.split("train")
    rows = np.array([7, 2, 11, 0, 2])
    numbers = split.read(8, rows)[:, 0, 0, 0].tolist()
    assert split.attribute("old", rows) == [None if number % 3 == 0 else number % 3 == 1 for number in numbers]
    assert split.attribute("size", rows) == [None if number % 3 == 1 else number % 3 for number in numbers]
    with pytest.raises(ValueError, match="has no attribute 'young'; it has old, size"):
        split.attribute("young", rows)


def test_missing_values_are_neither_of_the_two(with_gaps: Dataset) -> None:
    values = binary_values(with_gaps)
    assert values == {"old": (0, 1), "size": (0, 2)}
    rows = np.arange(12)
    labels = binary_labels(with_gaps, "train", values, rows)
    split = with_gaps.split("train")
    codes = {None: -1, False: 0, True: 1}
    assert labels[:, 0].tolist() == [codes[value] for value in split.attribute("old", rows)]
    assert labels[:, 1].tolist() == [{None: -1, 0: 0, 2: 1}[value] for value in split.attribute("size", rows)]


def test_what_is_not_known_is_neither_learnt_nor_scored() -> None:
    made = bars(200)
    labels = np.stack([made["down"], np.full(200, -1)], 1).astype(np.int64)
    half = labels.copy()
    half[::2, 0] = -1
    wrong = np.where(half >= 0, 1 - labels, -1)
    trained = train_attributes(made["images"][..., None], half, seed=0, validation=(made["images"][..., None], labels))
    assert trained.accuracies[0] is not None and trained.accuracies[0] > 0.9 and trained.accuracies[1] is None
    scored = train_attributes(made["images"][..., None], half, seed=0, validation=(made["images"][..., None], wrong))
    assert scored.accuracies[0] is not None and scored.accuracies[0] < 0.1


def test_one_attribute_is_enough_and_labels_of_another_form_are_refused() -> None:
    made = bars(100)
    images = made["images"][..., None]
    trained = train_attributes(images, made["down"].astype(np.int64)[:, None], seed=0, epochs=1)
    assert trained.module.classes == 1 and len(trained.accuracies) == 1
    for labels in (made["down"].astype(np.int64), made["third"][:, None]):
        with pytest.raises(ValueError, match=r"must be -1, 0 or 1 for each image and attribute: \[N, K\]"):
            train_attributes(images, labels, seed=0)


def test_a_dataset_without_binary_attributes_says_what_to_do(tmp_path: Path) -> None:
    made = bars(20)
    plain = {name: made[name] for name in ("images", "weight")}
    with pytest.raises(ValueError, match="has no attributes of type bool or int64 to classify; pack the images with"):
        ensure_attributes(packed_bars(tmp_path, **plain))
    (tmp_path / "b").mkdir()
    with pytest.raises(ValueError, match=r"none of the attributes of .* has exactly two values: third; pack"):
        ensure_attributes(packed_bars(tmp_path / "b", images=made["images"], third=made["third"]))
    (tmp_path / "c").mkdir()
    np.savez(tmp_path / "c" / "a.npz", images=made["images"], down=made["down"])
    pack(str(tmp_path / "c" / "a.npz"), str(tmp_path / "c" / "packed"), resolution=4)
    with pytest.raises(ValueError, match="has images of 4 px, a classifier of attributes needs 8 or more"):
        ensure_attributes(Dataset.open(str(tmp_path / "c" / "packed")))
