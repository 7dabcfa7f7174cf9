"""`alae evaluate`: computes metrics of one checkpoint, and keeps them as a record of the run."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from alae_core.metrics.protocol import Protocol
from alae_core.metrics.protocol_names import parse
from pipelines.data.domains import open_datasets
from pipelines.evaluation.loading import load
from pipelines.evaluation.shares import measure_checkpoint
from pipelines.experiment import metric_choice
from pipelines.runs import layout
from pipelines.runs.evaluations import Evaluation, Measured, write_evaluation
from pipelines.storage.digests import short_digest

BASELINES = {
    "identity": "the other domain's images as they are",
    "floor": "train images of the domain itself",
    "mean": "the mean train image of the domain",
    "nearest": "the train image of the domain nearest to each input",
    "reals": "random pairs of real images",
}
"""Suffix of a baseline's name -> the images that it uses instead of translations."""


@dataclass(frozen=True)
class Evaluated:
    """Metrics of a checkpoint, and the path of their record."""

    checkpoint: str
    nimg: int
    measured: list[Measured]
    record: str


def evaluate_again(
    place: str, metrics: Sequence[str] = (), *, samples: int | None = None, overrides: Sequence[str] = ()
) -> Evaluated:
    """Compute `metrics`, or those of the experiment, for a checkpoint at `place` or for the newest one of the run there.

    `samples` replaces the number of images in every name. The record is stored next to the run's own evaluations. Raises
    ValueError for invalid names, settings or missing resources, before any image is drawn.
    """
    url, experiment, subject, nimg = load(place, overrides)
    domains = experiment.domains
    names = [_resized(name, samples) for name in metrics or metric_choice.metric_names(experiment.evaluation, domains)]
    datasets = open_datasets(experiment.data.path, domains, experiment.data.damaged)
    measured = measure_checkpoint(url, experiment, subject, datasets, names)
    # A separate file: the run may be evaluating the same checkpoint, and its record is never overwritten.
    taken = Evaluation.now(url, nimg, subject.level.resolution, datasets, measured, own=False)
    path = write_evaluation(layout.run_of(url), taken, short_digest(",".join(sorted([*names, *overrides]))))
    return Evaluated(url, nimg, measured, path)


def table(measured: Iterable[Measured]) -> str:
    """Return one line per value, `value ± standard error` and its protocol, with notes below."""
    found = list(measured)
    rows = [
        (key, str(estimate), _how(each.protocol, key), estimate.notes)
        for each in found
        for key, estimate in each.estimates.items()
    ]
    rows += [(each.protocol.name, "left out", each.left_out, ()) for each in found if each.left_out]
    width, numbers = (max(len(row[column]) for row in rows) for column in (0, 1))
    lines = []
    for key, number, how, notes in rows:
        lines.append(f"{key:<{width}}  {number:>{numbers}}  {how}")
        lines += [f"{'':<{width}}  note: {note}" for note in notes]
    return "\n".join(lines)


def _how(protocol: Protocol, key: str) -> str:
    if key not in protocol.baselines:
        return describe(protocol)
    return f"baseline: the same for {BASELINES[key.removeprefix(f'{protocol.name}_')]}"


def describe(protocol: Protocol) -> str:
    """Describe a protocol in words."""
    return ", ".join(_clauses(protocol))


def _clauses(protocol: Protocol) -> Iterator[str]:
    row = protocol.row
    things = row.drawn or protocol.of
    if row.probe:
        things = f"{'long ' if protocol.long else ''}{things} of the train split"
    way = f" of the {protocol.split} split to {protocol.to}" if protocol.to else ""
    yield f"{protocol.images:,} {things}{way}"
    if protocol.each:
        yield f"{protocol.each} {row.repeated} each"
    if protocol.extractor:
        yield f"features of {protocol.extractor}{', cleanly resized' if protocol.resize == 'clean' else ''}"
    if row.compares:
        yield f"against {'the whole' if protocol.full else 'as many of the'} {protocol.split} split"
    if protocol.paired:
        yield "against their counterparts"
    if protocol.of == "reconstructions":
        yield f"of the {protocol.split} split"
    if row.probe:
        yield f"scored on the {protocol.split} split"
    if protocol.subsets:
        yield f"{protocol.subsets} subsets of {protocol.subset_size:,}"
    if protocol.neighbours:
        yield f"{protocol.neighbours} neighbours"
    if protocol.path:
        yield f"{protocol.path} paths in {(protocol.space or '').upper()}, crop {protocol.crop}"
    if row.attributes:
        yield f"attributes in {(protocol.space or '').upper()}"
    if protocol.truncation != 1:
        yield f"psi {protocol.truncation:g}"
    if protocol.mixing:
        yield f"styles mixed with probability {protocol.mixing:g}"
    if protocol.rounding == "official":
        yield "floored to bytes"
    if protocol.mirrored:
        yield "reals mirrored randomly"


def _resized(name: str, samples: int | None) -> str:
    protocol = parse(name)
    return name if samples is None else replace(protocol, images=samples).name
