"""The experiment: the fields of a run, their rules, their text form, and what a resumed run may change."""

from alae_core.capabilities import LimitsSearch, Searched
from pipelines.experiment.config import (
    AlgorithmConfig,
    DataConfig,
    EvaluationConfig,
    Experiment,
    ScalingConfig,
    TrackingConfig,
    TrainingConfig,
)

__all__ = [
    "AlgorithmConfig",
    "DataConfig",
    "EvaluationConfig",
    "Experiment",
    "LimitsSearch",
    "ScalingConfig",
    "Searched",
    "TrackingConfig",
    "TrainingConfig",
]
