"""Ray Train's validation function: evaluates a checkpoint in a separate Ray task, whose death is an ordinary error.

The process of the function only waits, so it does not import the evaluation.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError, RayTaskError
from ray.train import Checkpoint

Result = TypeVar("Result")


def validate_checkpoint(run_url: str, resources: Mapping[str, Any], checkpoint: Checkpoint) -> dict[str, float]:
    """Evaluate one checkpoint of a run in a Ray task with these `resources`, which stores the result.

    Ray has no callback for the end of a validation, so the tracking reads the stored result.
    """
    name = checkpoint.path.rstrip("/").rpartition("/")[2]
    return apart(resources, _evaluate, run_url, f"{run_url}/{name}")


def apart(resources: Mapping[str, Any], function: Callable[..., Result], *arguments: Any) -> Result:
    """Return the result of a function that runs in its own Ray task; raises RuntimeError if its process is killed.

    For Ray Train an exception is a failed validation, but a killed process, such as by a full memory, fails the run.
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
