"""The best checkpoint of a run is kept as a copy in its `best` folder, where the retention does not look.

Ray deletes all but the newest checkpoints, and does not resume a run in which another has deleted one that it knows. So
nothing is withheld from it: the copy is made in the evaluation itself, as long as Ray waits for that with its deleting.
"""

from pipelines import storage
from pipelines.experiment import Experiment
from pipelines.experiment.metric_choice import best_metric
from pipelines.runs import checkpoint
from pipelines.runs.history import read_evaluations
from pipelines.runs.results import best, series

FOLDER = "best"


def keep_best(run_url: str, experiment: Experiment, only: str | None = None) -> None:
    """Copy the best checkpoint of a run that keeps but the newest, and delete the copy of the best one before it.

    With `only`, a checkpoint's URL, nothing is done if another one is the best. Where all are kept, none is copied.
    """
    key = best_metric(experiment)
    if key is None or experiment.training.keep_checkpoints is None:
        return
    leader = best(series(read_evaluations(run_url, own=True), key))
    if leader is None or (only is not None and leader.checkpoint != only):
        return
    name = leader.checkpoint.rpartition("/")[2]
    kept = f"{run_url}/{FOLDER}/{name}"
    if not _is_whole(kept):
        if not _is_whole(leader.checkpoint):
            return
        checkpoint.copy(leader.checkpoint, kept)
    for other in storage.list_dir(f"{run_url}/{FOLDER}"):
        if other != name:
            storage.delete_tree(f"{run_url}/{FOLDER}/{other}")


def place_of(run_url: str, url: str) -> str | None:
    """Where the checkpoint that was saved at `url` lies now: there, or in the run's `best` folder; None where it is gone."""
    places = (f"{run_url}/{FOLDER}/{url.rpartition('/')[2]}", url)
    return next((place for place in places if _is_whole(place)), None)


def run_of(url: str) -> str:
    """The run's folder of a checkpoint."""
    return url.rpartition("/")[0].removesuffix(f"/{FOLDER}") or "."


def _is_whole(url: str) -> bool:
    return storage.exists(f"{url}/{checkpoint.MANIFEST}")
