"""Metrics of translations: the diversity of an input's translations, and their distance from the true counterpart."""

from dataclasses import dataclass

from torch import Tensor

from alae_core.metrics.diversity import upper_reference
from alae_core.metrics.estimate import Estimate, RunningMean, mean_estimate
from alae_core.metrics.inception_score import LabelStatistics, conditional_inception_score
from pipelines.data.format.shards import Split
from pipelines.evaluation.draws import Drawn, real_images
from pipelines.evaluation.features.counterparts import Counterparts
from pipelines.evaluation.features.pretrained import Distance
from pipelines.evaluation.measures import Mean, Mergeable, OfClasses, Rows


@dataclass(frozen=True)
class ConditionalScore(OfClasses):
    """Conditional Inception score over the `each` translations of each input."""

    each: int

    def groups(self, numbers: Tensor) -> Tensor:
        return numbers // self.each

    def finish(self, part: dict[int, LabelStatistics]) -> list[Estimate]:
        return [conditional_inception_score([part[number] for number in sorted(part)])]


@dataclass(frozen=True)
class Diversity(Mergeable):
    """Mean distance between two translations of one input (`each` pairs per input), then that of random real pairs.

    Pairs of one input are correlated, so the standard error is computed from the means of the inputs.
    """

    distance: Distance
    each: int
    real: Split
    resolution: int

    def start(self) -> Rows:
        return Rows()

    def add(self, part: Rows, numbers: Tensor, drawn: Drawn) -> None:
        assert drawn.second is not None
        distances = self.distance(drawn.first[: len(numbers)], drawn.second[: len(numbers)])
        part.parts.append((numbers, distances.double().cpu()))

    def finish(self, part: Rows) -> list[Estimate]:
        of_inputs = part.ordered().view(-1, self.each).mean(1)
        return [mean_estimate(of_inputs), self._reference(len(of_inputs))]

    def _reference(self, inputs: int) -> Estimate:
        def read(numbers: Tensor) -> Tensor:
            return real_images(self.real, self.resolution, numbers.numpy())

        return upper_reference(read, self.real.rows, self.distance, pairs=min(inputs, self.real.rows // 2))


@dataclass(frozen=True, kw_only=True)
class Paired(Mean):
    """Mean distance of translations from their counterparts, then the values of the baselines."""

    counterparts: Counterparts
    name: str
    """Identifier of the distance and of its weights."""

    def finish(self, part: RunningMean) -> list[Estimate]:
        errors = self.counterparts.baselines(self.name, self.value)
        return [*super().finish(part), *(mean_estimate(errors[kind]) for kind in ("identity", "mean", "nearest"))]
