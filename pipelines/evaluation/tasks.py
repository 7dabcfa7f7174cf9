"""Ray Train's validation function: a checkpoint's evaluation as a Ray task of its own, whose death is an error like another.

Its own process only waits, so it imports nothing of the evaluation.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError, RayTaskError
from ray.train import Checkpoint

Result = TypeVar("Result")


def validate_checkpoint(run_url: str, resources: Mapping[str, Any], checkpoint: Checkpoint) -> dict[str, float]:
    """Evaluate one checkpoint of a run in a Ray task of these `resources`, which writes down what came of it.

    Ray calls nothing when a validation ends, so what the task leaves on storage is what the tracking picks up.
    """
    name = checkpoint.path.rstrip("/").rpartition("/")[2]
    return apart(resources, _evaluate, run_url, f"{run_url}/{name}")


def apart(resources: Mapping[str, Any], function: Callable[..., Result], *arguments: Any) -> Result:
    """What a function returns in a Ray task of its own; RuntimeError if its process is killed.

    To Ray Train an exception is a failed validation, but a killed process, as by a full memory, a failure of the run.
    """
    try:
        return ray.get(ray.remote(function).options(**resources).remote(*arguments))
    except RayTaskError:
        raise
    except RayError as error:
        raise RuntimeError(f"the evaluation was killed: {str(error).strip().splitlines()[0]}") from error


def _evaluate(run_url: str, url: str) -> dict[str, float]:
    from pipelines.evaluation.validation import evaluate_checkpoint

    return evaluate_checkpoint(run_url, url)
