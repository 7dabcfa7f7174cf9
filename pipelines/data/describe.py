"""A readable summary of a packed dataset."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from pipelines.data.domains import parts
from pipelines.data.format.pyramid import DUPLICATES, REJECTED, Manifest, Shard
from pipelines.data.format.shard_files import open_shard
from pipelines.data.format.shards import Dataset

READERS = 8  # footers read at the same time
SHOWN = 8  # class names listed


def describe(url: str) -> str:
    """A table of images, labels, attributes and the stored bytes of each column in each split; one table per domain."""
    return "\n\n".join(map(_describe, parts(url)))


def _describe(url: str) -> str:
    manifest = Dataset.open(url).manifest
    lines = [url, *(f"  {name:<12}{text}" for name, text in _facts(manifest).items()), ""]
    weights = {name: _column_bytes(url, split.shards) for name, split in manifest.splits.items()}
    width = max(map(len, next(iter(weights.values())))) + 2
    lines.append(f"  {'column':<{width}}{'encoding':<10}" + "".join(f"{name:>14}" for name in weights))
    for column in next(iter(weights.values())):
        sizes = "".join(f"{human(weights[name][column]):>14}" for name in weights)
        lines.append(f"  {column:<{width}}{manifest.columns.get(column, ''):<10}{sizes}")
    lines.append(f"  {'total':<{width + 10}}" + "".join(f"{human(part.total()):>14}" for part in weights.values()))
    return "\n".join(lines)


def _facts(manifest: Manifest) -> dict[str, str]:
    facts = {
        "source": manifest.source,
        "images": ", ".join(f"{name} {split.rows:,}" for name, split in manifest.splits.items()),
        "resolution": _resolution(manifest),
        "labels": _labels(manifest),
        "attributes": ", ".join(f"{name} ({kind})" for name, kind in manifest.attributes.items()) or "none",
        "rejected": _counted(manifest.rejected, REJECTED),
        "duplicates": _duplicates(manifest),
        "shards": _shards(manifest),
    }
    notes = "; ".join(f"{count:,} images: {note}" for note, count in manifest.notes.items())
    return facts | ({"notes": notes} if notes else {})


def _resolution(manifest: Manifest) -> str:
    size, colour = manifest.resolution, "grayscale" if manifest.channels == 1 else "colour"
    square = f"square by {manifest.square}"
    if manifest.windows > 1:
        square = f"{manifest.windows} squares of each image by {manifest.square}"
    return f"{size}x{size} {colour}, {square}, shuffled with seed {manifest.seed}"


def _labels(manifest: Manifest) -> str:
    if manifest.labels is None:
        return "none"
    names = ", ".join(manifest.labels.names[:SHOWN]) + (", ..." if len(manifest.labels.names) > SHOWN else "")
    return f"{manifest.labels.count} classes" + (f": {names}" if names else "")


def _duplicates(manifest: Manifest) -> str:
    counts = ", ".join(f"{count:,} {kind}" for kind, count in manifest.duplicates.items() if count)
    return f"{counts}, listed in {DUPLICATES}" if counts else "none"


def _counted(count: int, where: str) -> str:
    return f"{count:,}, listed in {where}" if count else "none"


def _shards(manifest: Manifest) -> str:
    shards = [shard for split in manifest.splits.values() for shard in split.shards]
    total = human(sum(shard.bytes for shard in shards))
    return f"{len(shards):,} with {total} in total, in row groups of {manifest.rows_per_group} images"


def _column_bytes(url: str, shards: Sequence[Shard]) -> Counter[str]:
    """Stored bytes of each column, in the order of the columns."""
    total: Counter[str] = Counter()
    with ThreadPoolExecutor(READERS) as threads:
        for part in threads.map(partial(_shard_bytes, url), shards):
            total.update(part)
    return total


def _shard_bytes(url: str, shard: Shard) -> Counter[str]:
    with open_shard(url, shard) as file:
        stored, total = file.metadata, Counter[str]()
        for group in range(stored.num_row_groups):
            for index in range(stored.num_columns):
                chunk = stored.row_group(group).column(index)
                total[chunk.path_in_schema] += chunk.total_compressed_size
        return total


def human(size: int) -> str:
    """A size in bytes as text in B, KiB, MiB or GiB."""
    power = min(3, max(0, size.bit_length() - 1) // 10)
    return f"{size / 1024**power:,.{1 if power else 0}f} {('B', 'KiB', 'MiB', 'GiB')[power]}"
