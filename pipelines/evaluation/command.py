"""`alae evaluate`: metrics of one checkpoint, taken in this process, as a table and as a record of the run."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from alae_core.metrics.protocol import Protocol
from alae_core.metrics.protocol_names import parse
from pipelines import checkpoint, storage
from pipelines.data.shards import Dataset
from pipelines.evaluation import requirements
from pipelines.evaluation.extractors import short_digest
from pipelines.evaluation.runner import Measured, measure, metrics_of
from pipelines.evaluation.validation import evaluation_url, load_subject
from pipelines.override import override

SETTINGS = ("evaluation.", "data.path")
"""Of the checkpoint's experiment, what an evaluation may change."""


@dataclass(frozen=True)
class Evaluated:
    """What came of a checkpoint, and where it is kept."""

    checkpoint: str
    nimg: int
    measured: list[Measured]
    record: str


def evaluate_again(
    place: str, metrics: Sequence[str] = (), *, samples: int | None = None, overrides: Sequence[str] = ()
) -> Evaluated:
    """Take `metrics` of the checkpoint at `place`, or of the newest of the run there; without any, those of its experiment.

    `samples` replaces the number of images in every name. The record lies beside the run's own evaluations. Raises
    ValueError for what the user can mend, before anything is drawn.
    """
    url = _checkpoint(place)
    for assignment in overrides:
        if not assignment.startswith(SETTINGS):
            raise ValueError(f'"{assignment}" is not for an evaluation; it may set evaluation.* and data.path')
    experiment, subject, nimg = load_subject(url)
    experiment = override(experiment, overrides)
    config = experiment.evaluation
    names = [_resized(name, samples) for name in metrics or requirements.metric_names(config)]
    began = time.time()
    measured = measure(names, subject, Dataset.open(experiment.data.path), config)
    record = {
        "nimg": nimg,
        "time": began,
        "metrics": metrics_of(measured),
        "measured": {found.protocol.name: found.record() for found in measured},
        "figures": {},
        "checkpoint": url,
    }
    # A file of its own: the run's evaluation of this checkpoint may be under way, and is never overwritten.
    own = evaluation_url(_parent(url), nimg).removesuffix(".json")
    path = f"{own}_{short_digest(','.join(sorted(names)))}.json"
    storage.write_json_verified(path, record)
    return Evaluated(url, nimg, measured, path)


def table(measured: Iterable[Measured]) -> str:
    """A line for each number, `value ± standard error` and how it was taken, with its notes below."""
    rows = [
        (key, str(estimate), describe(found.protocol), estimate.notes)
        for found in measured
        for key, estimate in found.estimates.items()
    ]
    width, numbers = (max(len(row[column]) for row in rows) for column in (0, 1))
    lines = []
    for key, number, how, notes in rows:
        lines.append(f"{key:<{width}}  {number:>{numbers}}  {how}")
        lines += [f"{'':<{width}}  note: {note}" for note in notes]
    return "\n".join(lines)


def describe(protocol: Protocol) -> str:
    """How a number was taken, for people."""
    return ", ".join(_clauses(protocol))


def _clauses(protocol: Protocol) -> Iterator[str]:
    things = {"ppl": "paths", "msssim": "pairs", "reciprocity": "codes"}
    yield f"{protocol.images:,} {things.get(protocol.metric, protocol.of)}"
    if protocol.extractor:
        yield f"features of {protocol.extractor}"
    if protocol.metric in ("fid", "fd", "kid", "kd", "pr"):
        yield f"against {'the whole' if protocol.full else 'as many of the'} {protocol.split} split"
    if protocol.of == "reconstructions":
        yield f"of the {protocol.split} split"
    if protocol.subsets:
        yield f"{protocol.subsets} subsets of {protocol.subset_size:,}"
    if protocol.neighbours:
        yield f"{protocol.neighbours} neighbours"
    if protocol.path:
        yield f"{protocol.path} paths in {(protocol.space or '').upper()}, crop {protocol.crop}"
    if protocol.truncation != 1:
        yield f"psi {protocol.truncation:g}"
    if protocol.mixing:
        yield f"styles mixed with chance {protocol.mixing:g}"
    if protocol.rounding == "official":
        yield "floored to bytes"
    if protocol.mirrored:
        yield "reals mirrored by chance"


def _checkpoint(place: str) -> str:
    place = place.rstrip("/")
    if storage.exists(f"{place}/{checkpoint.MANIFEST}"):
        return place
    newest = checkpoint.latest(place)
    if newest is None:
        raise ValueError(f"{place} is neither a checkpoint nor a run that has a finished one; name one of the two")
    return newest.url


def _parent(url: str) -> str:
    return url.rpartition("/")[0] or "."


def _resized(name: str, samples: int | None) -> str:
    protocol = parse(name)
    return name if samples is None else replace(protocol, images=samples).name
