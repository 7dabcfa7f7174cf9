"""The values in a run's evaluations, each with the properties that comparable values share, and the best of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from alae_core.metrics.estimate import Estimate
from alae_core.metrics.protocol import Protocol
from pipelines.experiment.metric_choice import is_better
from pipelines.runs.evaluations import Evaluation, EvaluationError, Measured


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One value of one checkpoint."""

    key: str
    """Such as fd_classifier5k."""
    estimate: Estimate
    protocol: Protocol
    weights: str
    """Digest of the weights that took the features; "" where none did."""
    dataset: str
    """Digest of all images of the dataset."""
    resolution: int
    """Side of the images in px: distances are to the real images of one level."""
    nimg: int
    checkpoint: str

    def unlike(self, other: "Reading") -> str:
        """The reason why two readings do not compare, as a sentence; "" if they do."""
        if self.protocol != other.protocol:
            return "they follow different protocols"
        if self.dataset != other.dataset:
            return "they were measured against different datasets"
        if self.resolution != other.resolution:
            return f"they are of images of {self.resolution} px and of {other.resolution} px"
        if self.weights != other.weights:
            return f"their features come from different weights of {self.protocol.extractor or 'the attributes'}"
        return ""

    def better_than(self, other: "Reading") -> bool:
        """Whether its value is the better one; never for a metric that has no better side."""
        return is_better(self.protocol, self.estimate.value, other.estimate.value)


def readings(evaluation: Evaluation) -> dict[str, Reading]:
    """The values of one evaluation by key; raises EvaluationError where it does not say how they were taken."""
    return {
        key: _reading(evaluation, key, measured, estimate)
        for measured in evaluation.taken()
        for key, estimate in measured.estimates.items()
    }


def _reading(evaluation: Evaluation, key: str, measured: Measured, estimate: Estimate) -> Reading:
    assert evaluation.dataset is not None and evaluation.resolution is not None, "`taken` checks them"
    return Reading(
        key=key,
        estimate=estimate,
        protocol=measured.protocol,
        weights=measured.weights,
        dataset=evaluation.dataset["digest"],
        resolution=int(evaluation.resolution),
        nimg=evaluation.nimg,
        checkpoint=evaluation.checkpoint or "",
    )


def series(evaluations: Iterable[Evaluation], key: str) -> list[Reading]:
    """The values of one metric that compare with the newest of them, one for each checkpoint, oldest first.

    The run's own evaluation takes precedence over those of `alae evaluate`. Unreadable evaluations are left out.
    """
    by_nimg: dict[int, tuple[bool, Reading]] = {}
    for evaluation in evaluations:
        reading = readable(evaluation).get(key)
        if reading is not None and (evaluation.own or evaluation.nimg not in by_nimg):
            by_nimg[evaluation.nimg] = evaluation.own, reading
    found = [by_nimg[nimg] for nimg in sorted(by_nimg)]
    if not found:
        return []
    newest = next((reading for own, reading in reversed(found) if own), found[-1][1])
    return [reading for _, reading in found if not reading.unlike(newest)]


def best(found: Sequence[Reading]) -> Reading | None:
    """The best of a `series`; of equal ones the first."""
    leader = None
    for reading in found:
        if leader is None or reading.better_than(leader):
            leader = reading
    return leader


def readable(evaluation: Evaluation) -> dict[str, Reading]:
    """The `readings` of an evaluation; none if it does not say how they were taken."""
    try:
        return readings(evaluation)
    except EvaluationError:
        return {}
