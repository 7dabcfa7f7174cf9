"""Two domains in one source: images in folders named after the domains, or pairs side by side in one image."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.sources.decoding import Half
from pipelines.sources.listing import below_shared_folder, class_folders
from pipelines.sources.source import Source

Pair = tuple[Source, Source]
CYCLEGAN = ("A", "B")
_TRAINING = "train"
_SPLITS = f"{_TRAINING}|test|validation|valid|val"
_SPLIT = re.compile(_SPLITS, re.IGNORECASE)
_NOWHERE = "skipped: in no folder of a domain"


def by_folders(source: Source, names: tuple[str, str] = CYCLEGAN) -> Pair:
    """Split a source into two domains by folder names; upper and lower case are equal.

    A folder of domain A is `A`, `images_A`, or, with its split, `trainA`, `testA` or `valA`, anywhere in the path; a
    folder `train`, `test` or `val` above or below it names the split too. Images of other splits than `train` are held
    out. The domain's folder is removed from the images' names, so that counterparts have the same name. Folders inside
    a domain are its classes. Images outside the folders of both domains are skipped. Raises ValueError if a domain has
    no images, or none for training.
    """
    ids = source.index["id"].to_pylist()
    skipped = [name for name, _ in source.skipped]
    pattern = re.compile(rf"(?:({_SPLITS})[-_]?|images_)?({'|'.join(map(re.escape, names))})", re.IGNORECASE)
    places = [_without_domain(path, pattern) for path in below_shared_folder([*ids, *skipped])]
    of_images, of_skipped = places[: len(ids)], places[len(ids) :]
    by_class = _has_class_folders(source, ids)
    nowhere = [(path, _NOWHERE) for path, (domain, _) in zip(ids, of_images, strict=True) if not domain]
    pair = []
    for name in names:
        rows = np.flatnonzero([domain == name.lower() for domain, _ in of_images])
        if not len(rows):
            raise ValueError(_nothing_sentence(source, ids, name, names))
        paths = [of_images[row][1] for row in rows]
        left_out = [each for each, (at, _) in zip(source.skipped, of_skipped, strict=True) if at in ("", name.lower())]
        chosen = _chosen(source, rows, f"domain {name}", paths, by_class)
        pair.append(replace(chosen, skipped=(*left_out, *nowhere)))
    return pair[0], pair[1]


def side_by_side(source: Source) -> Pair:
    """Split every image into a left half (first domain) and a right half (second domain).

    Images in folders `test` or `val` are held out, as in `by_folders`.
    """
    ids = source.index["id"].to_pylist()
    by_class, rows = _has_class_folders(source, ids), np.arange(len(ids))
    left, right = (
        replace(_chosen(source, rows, f"{half} halves", ids, by_class), half=half) for half in get_args(Half)
    )
    return left, right


def held_out_alike(pair: Pair, fraction: float, seed: int) -> Pair:
    """Hold out `fraction` of the images of each domain, drawn with `seed`.

    A name that both domains have is held out in both or in neither.
    """
    ids = [source.index["id"].to_pylist() for source in pair]
    common = set(ids[0]) & set(ids[1])
    random = np.random.Generator(np.random.PCG64(seed))
    out: set[str] = set()
    for names in (common, set(ids[0]) - common, set(ids[1]) - common):
        shuffled = random.permutation(np.array(sorted(names), object))
        out.update(shuffled[: round(fraction * len(names))])
    first, second = (
        _marked(source, np.array([name in out for name in known])) for source, known in zip(pair, ids, strict=True)
    )
    return first, second


def _without_domain(path: str, pattern: re.Pattern[str]) -> tuple[str, str]:
    """The domain in lower case and the path without its folder; ("", path) for an image outside all domain folders."""
    *folders, name = path.split("/")
    for at, folder in enumerate(folders):
        if match := pattern.fullmatch(folder):
            split = [match[1]] if match[1] else []
            return match[2].lower(), "/".join([*folders[:at], *split, *folders[at + 1 :], name])
    return "", path


def _without_split(path: str) -> tuple[bool, str]:
    """Whether a folder of the path names a split other than `train`, and the path without that folder."""
    *folders, name = path.split("/")
    for at, folder in enumerate(folders):
        if _SPLIT.fullmatch(folder):
            return folder.lower() != _TRAINING, "/".join([*folders[:at], *folders[at + 1 :], name])
    return False, path


def _has_class_folders(source: Source, ids: Sequence[str]) -> bool:
    """Whether the labels come from class folders, which are folders of splits and domains here."""
    names, labels = class_folders(ids)
    return names == source.label_names and np.array_equal(labels, source.index["label"].to_numpy())


def _chosen(source: Source, rows: NDArray[np.int64], which: str, paths: Sequence[str], by_class: bool) -> Source:
    """The images of `rows` under the names `paths`, held out if their path names another split than `train`.

    With `by_class` the labels are computed again from the class folders of `paths`.
    """
    splits = [_without_split(path) for path in paths]
    index = source.index.take(pa.array(rows)).set_column(0, "id", pa.array(paths, pa.string()))
    label_names = source.label_names
    if by_class:
        label_names, labels = class_folders([path for _, path in splits])
        index = index.set_column(index.column_names.index("label"), "label", pa.array(labels, pa.int64()))
    part = replace(
        source,
        kind=f"{source.kind}, {which}",
        index=index,
        attributes=source.attributes.take(pa.array(rows)) if source.attributes.num_columns else source.attributes,
        label_names=label_names,
        fingerprint=_digest(source.fingerprint, which, rows, "\n".join(paths)),
        chunks=None if source.chunks is None else np.unique(source.chunks[rows], return_inverse=True)[1],
    )
    held_out = np.array([held for held, _ in splits])
    if held_out.all():
        raise ValueError(f"source {source.name}: all images of {which} are in folders of another split than train")
    return _marked(part, held_out) if held_out.any() else part


def _marked(source: Source, held_out: NDArray[np.bool_]) -> Source:
    return replace(source, held_out=held_out, fingerprint=_digest(source.fingerprint, held_out))


def _digest(*parts: Any) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode("utf-8", "surrogateescape") if isinstance(part, str) else part.tobytes())
    return digest.hexdigest()


def _nothing_sentence(source: Source, ids: Sequence[str], name: str, names: tuple[str, str]) -> str:
    folders = sorted({path.rpartition("/")[0] for path in ids})
    have = ", ".join(folders[:5]) + (", ..." if len(folders) > 5 else "") if folders != [""] else "none"
    return (
        f"source {source.name} has no folder train{name} or {name} with images (its folders: {have}); pass "
        f"--domains NAME,NAME if its domains are not called {names[0]} and {names[1]}, or pass the other source as "
        "--second"
    )
