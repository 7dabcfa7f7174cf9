"""The maintenance that is due after an iteration."""

from dataclasses import dataclass

from pipelines.experiment import Experiment


@dataclass(frozen=True)
class Due:
    """The maintenance that is due after an iteration, as a function of the images seen: a resume ticks at the same places."""

    report: bool
    checkpoint: bool
    validate: bool
    done: bool

    @classmethod
    def between(cls, experiment: Experiment, before: int, after: int) -> "Due":
        """Everything that became due when nimg went from `before` to `after`."""
        done = after >= experiment.schedule.total_nimg

        def crossed(images: int) -> bool:
            return after // images > before // images or (done and after > before)

        saving = crossed(experiment.training.checkpoint_nimg)
        validate = crossed(experiment.evaluation_nimg)
        return cls(
            report=saving or crossed(experiment.training.tick_nimg),
            checkpoint=saving,
            validate=saving and validate and experiment.evaluation.enabled,
            done=done,
        )
