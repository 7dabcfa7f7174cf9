"""Makes all compared forms of the images once: files, our packed datasets, WebDataset tars, MosaicML shards."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
from PIL import Image

from alae_core.order import SPAN_IMAGES
from benchmarks.feed.images import photographs, write_files
from pipelines.data.pack.pack import pack

ROOT = Path(__file__).parents[2]
WHOLE = "whole.json"  # written last


def make(work: Path, photos: Path, large: int, small: int, rivals: Path) -> Path:
    """Folder in `work` with all data, made again unless it is complete. `rivals` is the other libraries' Python."""
    folder = work.resolve() / f"images_{large}_{small}"
    if not (folder / WHOLE).exists():
        shutil.rmtree(folder, ignore_errors=True)
        write_files(photographs(photos), folder, large, small)
        for encoding in ("png", "jpeg"):
            pack(str(folder / "png256"), str(folder / f"packed_{encoding}256"), encoding=encoding, executor="here")
        pack(str(folder / "png64"), str(folder / "packed_raw64"), executor="here")
        pack(_repeated(folder), str(folder / "packed_raw16"), executor="here")
        command = [str(rivals), "-m", "benchmarks.feed.rivals.formats", str(folder)]
        subprocess.run(command, cwd=ROOT, check=True)
        (folder / WHOLE).write_text("{}")
    return folder


def _repeated(folder: Path) -> str:
    """Enough images of 16 px for one reading task, repeated as needed and recoloured each time."""
    once = np.stack([np.asarray(Image.open(path)) for path in sorted((folder / "png16").iterdir())])
    images = np.concatenate([once + np.uint8(time) for time in range(-(-SPAN_IMAGES // len(once)))])
    np.savez(folder / "repeated16.npz", images=images)
    return str(folder / "repeated16.npz")


def files(folder: Path, kind: str, limit: int | None = None) -> list[str]:
    """Image files of a kind such as "png256", or files of a tar folder, in order."""
    return [str(path) for path in sorted((folder / kind).iterdir())][:limit]


def shards(folder: Path, packed: str) -> list[str]:
    """Parquet files of a packed dataset."""
    return [str(path) for path in sorted((folder / packed).glob("train/*.parquet"))]
