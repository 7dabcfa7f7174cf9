"""The best checkpoint of a run is kept as a copy in its `best` folder, where the retention does not look.

Ray deletes all but the newest checkpoints, and does not resume a run in which another has deleted one that it knows. So
nothing is withheld from it: the copy is made in the evaluation itself, as long as Ray waits for that with its deleting.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipelines import storage
from pipelines.experiment import Experiment
from pipelines.experiment.metric_choice import best_metric
from pipelines.runs import checkpoint, layout
from pipelines.runs.evaluations import Evaluations, list_evaluations
from pipelines.runs.results import Reading, best, readable, series


@dataclass(frozen=True)
class Leader:
    """The run's own evaluations that were compared by a metric, and the two of them that represent all.

    It names records and holds none of their values. Where it is lost or does not fit the records, all are read again.
    """

    metric: str
    best: str | None
    newest: str | None
    """The best is the best of those that compare with this one."""
    compared: tuple[str, ...]

    @classmethod
    def read(cls, run_url: str) -> "Leader | None":
        """The stored leader of a run; None if there is none, or it is damaged."""
        url = f"{run_url}/{layout.LEADER}"
        if not storage.exists(url):
            return None
        try:
            kept = storage.read_json(url)
            best, newest = (kept[name] and str(kept[name]) for name in ("best", "newest"))
            return cls(kept["metric"], best, newest, tuple(map(str, kept["compared"])))
        except (ValueError, KeyError, TypeError):
            return None

    def write(self, run_url: str) -> None:
        """Keep it with the run."""
        storage.write_json_verified(f"{run_url}/{layout.LEADER}", dataclasses.asdict(self))


@dataclass(frozen=True)
class Standing:
    """The values of one metric that stand out in a run."""

    newest: Reading | None = None
    best: Reading | None = None
    """The best of the values that compare with the newest."""
    news: Leader | None = None
    """The `Leader` to write; None where the run has it already, and where `alae evaluate` added evaluations."""


def standing(run_url: str, metric: str, *, own: bool = False, afresh: bool = False) -> Standing:
    """The newest value of a metric and the best one; `own` leaves out what `alae evaluate` added.

    Reads the evaluations that are new since the run's `Leader`, and the two that it names. Reads all of them `afresh`, or if
    the `Leader` was found otherwise, or if a new one does not compare with those two.
    """
    paths, evaluations = list_evaluations(run_url, own=own), Evaluations(run_url)
    if not all(map(layout.is_own_evaluation, paths)):
        found = series(evaluations.these(paths).values(), metric)
        return Standing(found[-1] if found else None, best(found))
    kept = Leader.read(run_url)
    if kept is not None and not afresh and kept.metric == metric and set(kept.compared) <= set(paths):
        chosen = [path for path in paths if path not in kept.compared or path in (kept.best, kept.newest)]
        if _alike(evaluations, chosen, metric, kept):
            return _standing(evaluations, chosen, metric, kept, kept.compared)
    return _standing(evaluations, paths, metric, kept)


def keep_best(
    run_url: str, experiment: Experiment, only: str | None = None, manifest: dict[str, Any] | None = None
) -> None:
    """Copy the best checkpoint of a run that keeps but the newest, and delete the copy of the best one before it.

    With `only`, a checkpoint's URL, nothing is copied if another one is the best; `manifest` is that of `only`, where it was
    read already. Where all checkpoints are kept, none is copied.
    """
    key = best_metric(experiment)
    if key is None:
        return
    found = standing(run_url, key, own=True, afresh=only is None)
    if found.news is not None:
        found.news.write(run_url)
    leader = found.best
    if experiment.training.keep_checkpoints is None or leader is None:
        return
    if only is not None and leader.checkpoint != only:
        return
    name = leader.checkpoint.rpartition("/")[2]
    kept = f"{run_url}/{layout.best_path(name)}"
    if not _is_whole(kept):
        if not _is_whole(leader.checkpoint):
            return
        checkpoint.copy(leader.checkpoint, kept, manifest)
    for other in storage.list_dir(f"{run_url}/{layout.BEST}"):
        if other != name:
            storage.delete_tree(f"{run_url}/{layout.best_path(other)}")


def place_of(run_url: str, url: str) -> str | None:
    """Where the checkpoint that was saved at `url` lies now: there, or in the run's `best` folder; None where it is gone."""
    places = (f"{run_url}/{layout.best_path(url.rpartition('/')[2])}", url)
    return next((place for place in places if _is_whole(place)), None)


def _alike(evaluations: Evaluations, paths: Sequence[str], metric: str, kept: Leader) -> bool:
    """Whether the values at `paths` compare with each other, and those that `kept` names are among them."""
    values = {path: readable(each).get(metric) for path, each in evaluations.these(paths).items()}
    known = [value for value in values.values() if value is not None]
    named = (kept.best, kept.newest)
    return all(value.unlike(known[0]) == "" for value in known) and all(not path or values.get(path) for path in named)


def _standing(
    evaluations: Evaluations, paths: Sequence[str], metric: str, kept: Leader | None, before: Sequence[str] = ()
) -> Standing:
    """The standing of the evaluations at `paths`, which represent those compared `before` too."""
    read = evaluations.these(paths)
    found = series(read.values(), metric)
    newest, leader = found[-1] if found else None, best(found)
    path_of = {each.nimg: path for path, each in read.items()}
    named = [None if value is None else path_of[value.nimg] for value in (leader, newest)]
    now = Leader(metric, named[0], named[1], tuple(sorted({*before, *read})))
    return Standing(newest, leader, None if now == kept else now)


def _is_whole(url: str) -> bool:
    return storage.exists(f"{url}/{layout.MANIFEST}")
