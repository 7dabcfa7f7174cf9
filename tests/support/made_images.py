"""Small images, and sources of every kind that contain them."""

import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import google_crc32c
import lmdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from pipelines.sources import Source

Pixels = np.ndarray
Files = Mapping[str, bytes]


def pictures(count: int, height: int = 6, width: int = 5) -> Pixels:
    """Images of noise, uint8 [count, height, width, 3]."""
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)


def encoded(image: Image.Image, kind: str = "png", **options: Any) -> bytes:
    """`image` encoded as a file of format `kind`."""
    file = io.BytesIO()
    image.save(file, format=kind, **options)
    return file.getvalue()


def png(pixels: Pixels) -> bytes:
    """Pixels uint8 [H, W] or [H, W, C] encoded as PNG."""
    return encoded(Image.fromarray(pixels))


def rows(source: Source) -> list[dict[str, Any]]:
    """The index and attributes of each image of a source."""
    said = {name: source.attributes[name] for name in source.attributes.column_names}
    return pa.table({"id": source.index["id"], "label": source.index["label"], **said}).to_pylist()


def write_folder(folder: Path, files: Files) -> str:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return str(folder)


def write_zip(path: Path, files: Files, method: int = zipfile.ZIP_STORED) -> str:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return str(path)


def write_tar(path: Path, files: Files) -> str:
    with tarfile.open(path, "w:gz" if path.suffix in (".gz", ".tgz") else "w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return str(path)


def write_lmdb(folder: Path, values: Mapping[bytes, bytes]) -> str:
    with lmdb.open(str(folder), map_size=2**22) as environment, environment.begin(write=True) as transaction:
        for key, value in values.items():
            transaction.put(key, value)
    return str(folder)


def write_faces(path: Path, files: Files, rows_per_group: int = 2, names: Sequence[str] = (), **columns: Any) -> str:
    """Write a Parquet file in the form of Hugging Face; `names` are the class names of the column `label`."""
    images = [{"bytes": data, "path": name} for name, data in files.items()]
    table = pa.table({"image": images, **columns})
    features = {"image": {"_type": "Image"}, "label": {"names": list(names), "_type": "ClassLabel"}}
    described = json.dumps({"info": {"features": features}})
    pq.write_table(table.replace_schema_metadata({"huggingface": described}), path, row_group_size=rows_per_group)
    return str(path)


def write_tfrecords(path: Path, images: Sequence[Pixels]) -> str:
    path.write_bytes(b"".join(record(example(image)) for image in images))
    return str(path)


def write_mnist(root: Path, images: Pixels) -> str:
    """Write files in MNIST's own format with four images, uint8 [4, 28, 28], in both splits."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for split in ("train", "t10k"):
        sizes = np.array([2051, 4, 28, 28], ">i4").tobytes()
        (raw / f"{split}-images-idx3-ubyte").write_bytes(sizes + images.tobytes())
        (raw / f"{split}-labels-idx1-ubyte").write_bytes(np.array([2049, 4], ">i4").tobytes() + bytes([7, 0, 9, 1]))
    return str(root)


def record(data: bytes) -> bytes:
    """A TFRecord of `data`: the length and the data, each followed by its masked checksum."""
    length = struct.pack("<Q", len(data))
    return length + _masked(length) + data + _masked(data)


def example(image: Pixels) -> bytes:
    """The tf.train.Example of an image uint8 [H, W, C] in the form of StyleGAN's tools, in protobuf's wire format."""
    planes = np.ascontiguousarray(image.transpose(2, 0, 1))
    shape = _field(1, b"".join(_varint(size) for size in planes.shape))
    features = {"shape": _field(3, shape), "data": _field(1, _field(1, planes.tobytes()))}
    entries = (_field(1, name.encode()) + _field(2, feature) for name, feature in features.items())
    return _field(1, b"".join(_field(1, entry) for entry in entries))


def _masked(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32)


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value % 128 | 128]) + _varint(value // 128)
