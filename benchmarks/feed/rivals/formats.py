"""Writes the image files of a folder as WebDataset tars and as MosaicML shards, the bytes unchanged or as raw pixels."""

import sys
from collections.abc import Iterator
from pathlib import Path

import webdataset

from alae_core.torchvision_import import torchvision
from benchmarks.feed.rivals.decoding import decode

torchvision()  # in a way that works beside any build of torch; the next import needs it
from streaming import MDSWriter  # noqa: E402

SHARDS = 16
WANTED = {  # the name of what is written: the folder of image files and, for raw pixels, their side
    "png256": ("png256", None),
    "jpeg256": ("jpeg256", None),
    "raw64": ("png64", 64),
    "raw16": ("png16", 16),
}


def write(work: Path) -> None:
    """Folders tar_* and mds_* of `work`, each of SHARDS shards, from its folders of image files."""
    for name, (folder, side) in WANTED.items():
        files = sorted((work / folder).iterdir())
        per_shard = -(-len(files) // SHARDS)
        _write_tars(list(_images(files, side)), work / f"tar_{name}", per_shard)
        _write_mds(list(_images(files, side)), work / f"mds_{name}", per_shard)


def _images(files: list[Path], side: int | None) -> Iterator[bytes]:
    for file in files:
        data = file.read_bytes()
        yield data if side is None else decode("pillow", side)(data).tobytes()


def _write_tars(images: list[bytes], folder: Path, per_shard: int) -> None:
    folder.mkdir()
    with webdataset.ShardWriter(str(folder / "%04d.tar"), maxcount=per_shard, verbose=0) as tars:
        for number, image in enumerate(images):
            tars.write({"__key__": f"{number:06d}", "image": image})


def _write_mds(images: list[bytes], folder: Path, per_shard: int) -> None:
    # A shard is closed by its size: that of the header and as many average images.
    limit = 4096 + per_shard * (sum(map(len, images)) // len(images) + 16)
    with MDSWriter(out=str(folder), columns={"image": "bytes"}, size_limit=limit) as shards:
        for image in images:
            shards.write({"image": image})


if __name__ == "__main__":
    write(Path(sys.argv[1]))
