"""MLflow as a replica of the run's own files: what it lacks is pushed, whenever it can be reached.

The order is always: the run's files first, MLflow after. A server that was away is caught up when it is back.
"""

import fcntl
import json
import logging
import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alae_core.alarms import Raised
from pipelines import storage
from pipelines.runs import layout
from pipelines.runs.best import place_of
from pipelines.runs.evaluations import Evaluation, EvaluationError, Evaluations, list_evaluations
from pipelines.runs.history import read_history
from pipelines.runs.monitor import list_charts, read_alarms
from pipelines.runs.results import best, series
from pipelines.storage.address import redact
from pipelines.storage.files import modified
from pipelines.tracking import inputs, links, mlflow_run, pages
from pipelines.tracking.mlflow_run import RUN_TAG, RemoteRun
from pipelines.tracking.models import Best, Models
from pipelines.tracking.note import OURS, Progress, Story, note
from pipelines.tracking.origin import Origin
from pipelines.tracking.pages import FigureError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

Param = str | int | float | bool | None
MODEL_PAGES = ("samples", "reconstructions", "translations_to_a", "translations_to_b")
"""Pages of an evaluation that a registered model shows."""
NOTE_TAG = "mlflow.note.content"
OVERVIEW = f"{layout.FIGURES}/overview.png"
"""The picture in a note, of the first two of MODEL_PAGES that a run has, else of its first two pages."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SyncResult:
    """The records that one sync added to MLflow."""

    run_id: str
    ticks: int = 0
    evaluations: int = 0
    figures: int = 0


class MLflowReplica:
    """One run in MLflow, kept equal to the run's files; it can be pickled, and connects at its first sync.

    `spool` is the local folder with history.jsonl, `run_url` the run folder on storage with the evaluations.
    The run is found by the id in `<spool>/tracking.json`, else by its tag `alae.run`, else it is created. The checkpoint
    with the best value of `best_metric` is tagged, and registered as `registered_as`, the run's name unless given.
    """

    def __init__(
        self,
        uri: str,
        experiment: str,
        run_name: str,
        params: Mapping[str, Param],
        tags: Mapping[str, str],
        spool: str | os.PathLike[str],
        run_url: str,
        parent_run_id: str | None = None,
        best_metric: str | None = None,
        registered_as: str | None = None,
        origin: Origin | None = None,
    ) -> None:
        self._uri = uri
        self.best_metric = best_metric
        self.nested = parent_run_id is not None
        self.registered_as = registered_as or run_name
        self.experiment = experiment
        self.run_name = run_name
        self.params = {name: redact(str(value)) for name, value in params.items()}
        self.spool = Path(spool)
        self.run_url = (run_url if "://" in run_url else os.path.abspath(run_url)).rstrip("/")
        self.tags = {**tags, RUN_TAG: redact(self.run_url)}
        if parent_run_id:
            self.tags["mlflow.parentRunId"] = parent_run_id
        self.origin = origin
        self.ended_at: float | None = None
        """Unix time at which the command ends; by default the run ends with its last record."""
        self._began = time.time()
        self._dataset = ""
        self._status = "RUNNING"
        self._name = uuid.uuid4().hex
        self._remote: RemoteRun | None = None
        self._reopened = False
        self._offset = 0
        self._progress = Progress(0, ())
        self._evaluations = Evaluations(self.run_url)
        self._evaluated: set[str] = set()
        self._own: dict[int, Evaluation] = {}
        self._complained: set[str] = set()
        self._last_time = 0.0

    def __repr__(self) -> str:
        return f"MLflowReplica({redact(self._uri)!r}, {self.run_name!r})"

    def __getstate__(self) -> dict[str, Any]:
        # The copy is another writer, with a connection of its own.
        return {
            **self.__dict__,
            "_name": uuid.uuid4().hex,
            "_remote": None,
            "_reopened": False,
            "_offset": 0,
            "_evaluations": Evaluations(self.run_url),
            "_evaluated": set(),
            "_own": {},
            "_progress": Progress(0, ()),
        }

    def sync(self, final: bool = False, status: str | None = None, register: bool | None = None) -> SyncResult:
        """Pushes what MLflow lacks; `final` also ends the run with `status` (FINISHED unless given).

        Raises whatever MLflow or the storage raises; the next call asks MLflow afresh what it has.
        """
        with self._only_writer():
            try:
                remote = self._remote or self._open(reopen=not final)
                ending = (status or "FINISHED") if final else None
                result = self._push(remote, ending)
                if ending:
                    remote.end(ending, self.ended_at or self._last_time)
                    if register or (register is None and ending == "FINISHED" and not self.nested):
                        self._register(remote)
                return result
            except BaseException:
                self._remote = None
                raise

    @contextmanager
    def _only_writer(self) -> Iterator[None]:
        """One sync at a time per spool; what another writer pushed in between is asked for, not assumed."""
        self.spool.mkdir(parents=True, exist_ok=True)
        with open(self.spool / layout.TRACKING_LOCK, "a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            if file.read() != self._name:
                self._remote = None
                file.truncate(0)
                file.write(self._name)
                file.flush()
            yield

    def _open(self, reopen: bool) -> RemoteRun:
        client = mlflow_run.connect(self._uri)
        run = self._find_or_create(client)
        self._remember(run)
        # Once: a late sync must not reopen what another writer has ended.
        self._status = run.info.status
        if reopen and not self._reopened and run.info.status != "RUNNING":
            client.update_run(run.info.run_id, status="RUNNING")
            self._status = "RUNNING"
        self._reopened = True
        self._offset, self._evaluated, self._own, self._progress = 0, set(), {}, Progress(0, ())
        self._remote = RemoteRun(client, run, Models(client, run))
        self._remote.describe(self.params, self.tags, self.origin.source() if self.origin else {})
        if self.origin:
            self._describe_origin(self._remote, self.origin)
        return self._remote

    def _describe_origin(self, remote: RemoteRun, origin: Origin) -> None:
        remote.push_artifact(layout.EXPERIMENT, redact(origin.experiment.to_json()).encode())
        datasets = inputs.open_all(origin.experiment)
        if datasets:
            remote.push_dataset(inputs.described(datasets), "training")
            self._dataset = inputs.sentence(datasets)

    def _find_or_create(self, client: "MlflowClient") -> "Run":
        run = mlflow_run.get_run(client, self._remembered())
        if run is not None and self._is_of_this_folder(run):
            return run
        experiment_id = mlflow_run.experiment_id(client, self.experiment, self._uri)
        anew = self._begins_anew()
        found = None if anew else mlflow_run.find_run(client, experiment_id, self.tags[RUN_TAG])
        return found or client.create_run(experiment_id, self._started_ms(), self.tags, self.run_name)

    def _is_of_this_folder(self, run: "Run") -> bool:
        """Whether an MLflow run was made for this folder and not for one that it was copied from."""
        own, other = self.tags[RUN_TAG], run.data.tags.get(RUN_TAG)
        if other is None or other == own:
            return True
        log.warning(
            "%s was copied or moved from %s: it gets a run of its own in MLflow, with the whole history", own, other
        )
        return False

    def _started_ms(self) -> int:
        ticks, _ = read_history(self.spool / layout.HISTORY)
        first = min(ticks, key=lambda tick: tick.time, default=None)
        before = first.metrics.get("time/total_s") or 0.0 if first else 0.0
        return round(min(first.time - before if first else self._began, self._began) * 1000)

    def _remembered(self) -> str | None:
        return links.read(self.spool / layout.TRACKING).get("run_id") or None

    def _begins_anew(self) -> bool:
        """Whether another run lay in this folder and was moved aside: MLflow's run for this address is that one's."""
        return links.read(self.spool / layout.TRACKING).get("run_id") == ""

    def _remember(self, run: "Run") -> None:
        record = {
            "run_id": run.info.run_id,
            "experiment_id": run.info.experiment_id,
            "experiment": self.experiment,
            "uri": redact(self._uri),
        }
        draft = self.spool / f"{layout.TRACKING}.tmp"
        draft.write_text(json.dumps(record, indent=2) + "\n")
        os.replace(draft, self.spool / layout.TRACKING)

    def _push(self, remote: RemoteRun, ending: str | None) -> SyncResult:
        ticks, self._offset = read_history(self.spool / layout.HISTORY, self._offset)
        self._progress = self._progress.after(ticks)
        result = SyncResult(remote.run_id, ticks=remote.push_ticks(ticks))
        self._last_time = max([self._last_time, *(tick.time for tick in ticks)])
        for path in list_evaluations(self.run_url):
            evaluation = None if path in self._evaluated else self._read(path)
            if evaluation is None:
                continue
            evaluations = result.evaluations + remote.push_evaluation(evaluation)
            figures = result.figures + self._push_figures(remote, evaluation, path)
            result = replace(result, evaluations=evaluations, figures=figures)
            self._last_time = max(self._last_time, evaluation.time)
            if evaluation.own:
                self._own[evaluation.nimg] = evaluation
        best_place = self._mark_best(remote)
        alarms = read_alarms(self.run_url)
        remote.label({f"alarm/{alarm.name}": str(alarm) for alarm in alarms})
        result = replace(result, figures=result.figures + self._push_charts(remote))
        self._push_note(remote, alarms, best_place, self._push_newest(remote), ending)
        return result

    def _push_newest(self, remote: RemoteRun) -> dict[str, int]:
        """The newest pages under plain names, and where MLflow's sliders begin; artifact -> nimg."""
        newest = {key: each for each in self._own.values() for key in each.figures}
        pushed = {}
        for key, each in newest.items():
            path = f"{layout.FIGURES}/{key}.png"
            if remote.opens_with(key, each.time) or self._push_opening(remote, key, each, path):
                pushed[path] = each.nimg
        if pushed and remote.overview != max(pushed.values()):
            self._push_overview(remote, newest)
        return pushed

    def _push_opening(self, remote: RemoteRun, key: str, evaluation: Evaluation, path: str) -> bool:
        try:
            png = storage.read_bytes(storage.join(self.run_url, evaluation.figures[key]))
            remote.push_artifact(path, pages.encode(pages.decode(png)))
            remote.push_opening(key, evaluation.nimg, evaluation.time, png)
            return True
        except (FileNotFoundError, FigureError):
            return False  # it was complained about where its step was pushed

    def _push_overview(self, remote: RemoteRun, newest: Mapping[str, Evaluation]) -> None:
        keys = ([key for key in MODEL_PAGES if key in newest] or list(newest))[:2]
        found = []
        for key in keys:
            with suppress(FileNotFoundError, FigureError):
                found.append(pages.decode(storage.read_bytes(storage.join(self.run_url, newest[key].figures[key]))))
        if found:
            remote.push_artifact(OVERVIEW, pages.encode(pages.side_by_side(found)))
            remote.overview = max(each.nimg for each in newest.values())

    def _push_note(
        self,
        remote: RemoteRun,
        alarms: Sequence[Raised],
        best_place: str | None,
        pictures: Mapping[str, int],
        ending: str | None,
    ) -> None:
        if OURS not in remote.tags.get(NOTE_TAG, OURS):
            return  # a person has written it
        story = Story(
            run_url=redact(self.run_url),
            run_id=remote.run_id,
            experiment_id=remote.run.info.experiment_id,
            origin=self.origin,
            dataset=self._dataset,
            progress=self._progress,
            evaluations=[self._own[nimg] for nimg in sorted(self._own)],
            deciding=self.best_metric,
            best_place=best_place and redact(best_place),
            alarms=alarms,
            pictures=pictures,
            overview=OVERVIEW if pictures else None,
            status=ending or self._status,
        )
        remote.label({NOTE_TAG: note(story)})

    def _push_charts(self, remote: RemoteRun) -> int:
        charts = list_charts(self.run_url)
        missing = {place: path for place, path in charts.items() if not remote.has_figure(*place)}
        pushed = sum(
            self._push_figure(remote, key, nimg, modified(storage.join(self.run_url, path)), path)
            for (key, nimg), path in missing.items()
        )
        for key, nimg in dict(sorted(missing)).items():
            url = storage.join(self.run_url, charts[key, nimg])
            with suppress(FileNotFoundError, FigureError):
                remote.push_opening(key, nimg, modified(url), storage.read_bytes(url))
        return pushed

    def _mark_best(self, remote: RemoteRun) -> str | None:
        """Mark the best checkpoint; returns where it lies."""
        found = self._best()
        if found is None:
            return None
        remote.models.mark_best(found)
        return found.place

    def _best(self) -> Best | None:
        """The best of the checkpoints that the run has evaluated itself."""
        leader = best(series(self._own.values(), self.best_metric)) if self.best_metric else None
        if leader is None or not leader.checkpoint:
            return None
        return Best(leader.key, self._own[leader.nimg], place_of(self.run_url, leader.checkpoint))

    def _register(self, remote: RemoteRun) -> None:
        found = self._best()
        if found is not None and mlflow_run.has_registry(self._uri):
            figures = found.evaluation.figures
            paths = {page: f"{self.run_url}/{figures[page]}" for page in MODEL_PAGES if page in figures}
            shown = {page: storage.read_bytes(path) for page, path in paths.items() if storage.exists(path)}
            remote.models.register(self.registered_as, found, shown)

    def _read(self, path: str) -> Evaluation | None:
        try:
            return self._evaluations.read(path)
        except EvaluationError as error:
            self._complain(path, str(error))
            return None

    def _push_figures(self, remote: RemoteRun, evaluation: Evaluation, path: str) -> int:
        """Pushes what is missing, and lets the evaluation rest once all its figures are there."""
        missing = [key for key in evaluation.figures if not remote.has_figure(key, evaluation.nimg)]
        figures, nimg = evaluation.figures, evaluation.nimg
        pushed = sum(self._push_figure(remote, key, nimg, evaluation.time, figures[key]) for key in missing)
        if pushed == len(missing):
            self._evaluated.add(path)
        return pushed

    def _push_figure(self, remote: RemoteRun, key: str, nimg: int, seconds: float, path: str) -> bool:
        try:
            remote.push_figure(key, nimg, seconds, storage.read_bytes(storage.join(self.run_url, path)))
            return True
        except (FileNotFoundError, FigureError):
            self._complain(path, f"{path} is missing or not an image")
            return False

    def _complain(self, path: str, sentence: str) -> None:
        if path not in self._complained:
            log.warning("%s; MLflow goes without it", sentence)
            self._complained.add(path)
