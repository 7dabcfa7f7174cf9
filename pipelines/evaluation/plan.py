"""From the names of metrics to what is drawn for each and how it is measured."""

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
    """One metric: what is drawn for it, how many, and how it is measured."""

    protocol: Protocol
    stream: draws.Stream
    count: int
    measure: measures.Measure
    notes: tuple[str, ...] = ()
    """What each of its numbers is told with."""
    left_out: str = ""
    """Why it cannot be taken at the subject's level; then nothing is drawn."""
    weights: str = ""
    """Digest of the weights that it takes features by."""


class Planner:
    """Plans metrics of one subject; weights are read once for all that need them."""

    def __init__(self, subject: Subject, datasets: Sequence[Dataset], config: EvaluationConfig) -> None:
        """`datasets`: one per domain."""
        self.material = Material(subject, datasets, config)

    def plan(self, names: Sequence[str]) -> list[Task]:
        """A task for each name; raises ValueError with the way out where one cannot be measured.

        What cannot be taken at the subject's level alone is left out, with the reason, for the other metrics' sake.
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
        """Images that there are to take it of."""
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
