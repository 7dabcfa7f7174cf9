"""Plans metrics: finds the stream and the measure of each name."""

from collections.abc import Sequence
from dataclasses import dataclass

from alae_core.metrics.protocol import Protocol
from alae_core.metrics.protocol_names import parse
from pipelines.data.format.shards import Dataset
from pipelines.evaluation import draws, measures, requirements
from pipelines.evaluation.material import Material
from pipelines.evaluation.recipes import RECIPES
from pipelines.evaluation.subject import Subject, offered
from pipelines.experiment import EvaluationConfig


@dataclass(frozen=True)
class Task:
    """One metric: its stream, the number of members to draw, and its measure."""

    protocol: Protocol
    stream: draws.Stream
    count: int
    measure: measures.Measure
    notes: tuple[str, ...] = ()
    """Notes that are added to each estimate."""
    left_out: str = ""
    """Reason why the metric is undefined at the subject's level, for which nothing is drawn; "" if it is defined."""
    weights: str = ""
    """Digest of the extractor's weights."""


class Planner:
    """Plans metrics of one subject; each weight file is read once."""

    def __init__(self, subject: Subject, datasets: Sequence[Dataset], config: EvaluationConfig) -> None:
        """`datasets` has one dataset per domain."""
        self.material = Material(subject, datasets, config)

    def plan(self, names: Sequence[str]) -> list[Task]:
        """Return a task for each name; raises ValueError with a remedy if a metric cannot be measured.

        A metric that is undefined only at the subject's level is left out with the reason, so that the others are measured.
        """
        material = self.material
        requirements.check(names, material.config, material.datasets, **offered(material.subject.algorithm))
        return [self._task(parse(name)) for name in names]

    def _task(self, protocol: Protocol) -> Task:
        material, recipe = self.material, RECIPES[protocol.metric]
        count = min(protocol.images, self._available(protocol))
        stream, measure = recipe.draw(material, protocol, count), recipe.take(material, protocol, count)
        if reason := requirements.left_out(protocol, material.subject.level.resolution):
            return Task(protocol, stream, 0, measure, left_out=reason)
        scored = material.compared(protocol).rows if protocol.row.probe else 0
        drawn = count * (protocol.each or 1) + scored
        notes = self._count_notes(protocol, count)
        return Task(protocol, stream, drawn, measure, notes, weights=material.weights(protocol))

    def _available(self, protocol: Protocol) -> int:
        """Number of images that are available for the metric."""
        material = self.material
        if protocol.paired:
            return len(material.counterparts(protocol).matches)
        if protocol.of == "translations":
            return material.inputs(protocol).rows
        if protocol.row.probe:
            return material.dataset(protocol).split("train").rows
        return material.compared(protocol).rows if protocol.of == "reconstructions" else protocol.images

    def _count_notes(self, protocol: Protocol, count: int) -> tuple[str, ...]:
        if protocol.paired and count < min(protocol.images, rows := self.material.inputs(protocol).rows):
            return (f"only {count:,} of the split's {rows:,} images have a counterpart",)
        if count < protocol.images:
            return (f"the split has only {count:,} of the {protocol.images:,} images that the name says",)
        return ()
