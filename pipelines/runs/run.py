"""The places of one run, its identity, and whether it may go on."""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from alae_core import sync
from pipelines import storage
from pipelines.data.domains import FOLDERS
from pipelines.data.format.shards import Dataset
from pipelines.experiment import Experiment
from pipelines.experiment.override import BY_DIGEST, resume_differences
from pipelines.experiment.paths import _absolute
from pipelines.runs import checkpoint, layout
from pipelines.runs.aside import hold, set_aside
from pipelines.runs.changes import Change, declare, in_force, read_changes, with_changes
from pipelines.runs.history import History

NEW_NAME = "give another name=... to start a new run"

log = logging.getLogger(__name__)


class OtherRunError(ValueError):
    """The folder holds a run of other settings, images or files."""


@dataclass(frozen=True)
class Run:
    """A run's folder on storage."""

    url: str

    @classmethod
    def of(cls, experiment: Experiment) -> "Run":
        """The run's folder; a local one is made absolute, since Ray's workers run elsewhere."""
        return cls(f"{_absolute(experiment.training.storage).rstrip('/')}/{experiment.name}")

    @classmethod
    def at(cls, place: str) -> "Run":
        """The run in a folder, whose address is made absolute."""
        return cls(_absolute(place).rstrip("/"))

    @property
    def spool(self) -> Path:
        """Where the controller keeps the history: the run's folder if that is local, else ./runs/<name>."""
        if storage.is_local(self.url):
            return storage.local_path(self.url)
        return Path.cwd() / "runs" / self.url.rpartition("/")[2]

    @property
    def history(self) -> Path:
        return self.spool / layout.HISTORY

    @property
    def name(self) -> str:
        """The name of the run's folder, which is the run's name also after the folder was renamed or copied."""
        return self.url.rpartition("/")[2]

    def experiment(self) -> Experiment:
        """The experiment this run was started with, named as its folder is now; ValueError if the folder is not a run."""
        path = f"{self.url}/{layout.EXPERIMENT}"
        if not storage.exists(path):
            raise ValueError(
                f"{self.url} is {checkpoint.folder_of_runs(self.url) or f'not a run: it has no {layout.EXPERIMENT}'}"
            )
        return replace(self._read_experiment(path), name=self.name)

    def _read_experiment(self, path: str) -> Experiment:
        data = storage.read_bytes(path)
        try:
            return Experiment.from_json(data.decode())
        except ValueError as error:  # also text that is not UTF-8
            raise ValueError(
                f"{path} does not read as an experiment: {str(error).strip().splitlines()[0]}; restore the file, or start "
                "under another name=..."
            ) from error

    def claim(
        self, experiment: Experiment, datasets: Sequence[Dataset], files: Mapping[str, str] | None = None
    ) -> None:
        """Write down what this run is, on which datasets; refuse with the differences if it already is something else.

        `files` holds the SHA-256 of each file that a field of `BY_DIGEST` names. A start that reached no checkpoint does not
        claim the folder: it is moved aside, if it is known that no other process is training the run.
        """
        holder = hold(self.spool, self.url)
        if holder == "another process" and not storage.exists(f"{self.url}/{layout.EXPERIMENT}"):
            raise ValueError(f"another command is starting the run {experiment.name!r} in {self.url}; {NEW_NAME}")
        try:
            self._claim(experiment, datasets, files or {})
        except OtherRunError as error:
            if checkpoint.latest(self.url) is not None:
                raise ValueError(f"{error}. {self._ways_out()}") from None
            if holder != "this process":
                hint = "--restart moves it aside, once no other command trains it"
                raise ValueError(f"{error}. It has no checkpoint yet: {hint}, or {NEW_NAME}") from None
            log.warning("%s. It has no checkpoint, so it was moved to %s", error, self.set_aside())
            self._claim(experiment, datasets, files or {})

    def _ways_out(self) -> str:
        return (
            "Repeat the earlier settings to resume it; declare a longer schedule, another batch size, rate or loss weight "
            f"with alae change {self.url} a.b=c; start a new run from its networks with name=... "
            f"training.init_from={self.url}; {NEW_NAME}; or move this one aside with --restart"
        )

    def changes(self) -> tuple[Change, ...]:
        """The changes of settings that were declared in mid-run."""
        return read_changes(self.url)

    def changed(self, experiment: Experiment) -> Experiment:
        """The experiment by which the run trains on, from the one it was started with; ValueError if the changes do not fit."""
        return in_force(self.url, experiment)

    def change(self, assignments: Sequence[str]) -> Change:
        """Declare a change of settings from the newest checkpoint on; ValueError if it is not possible now."""
        if hold(self.spool, self.url) == "another process":
            raise ValueError(f"another command is training the run in {self.url}; stop it before it is changed")
        return declare(self.url, assignments)

    def restart(self) -> str | None:
        """Move the run's folder aside and return where; None if there is none. ValueError if another process trains it."""
        if not storage.exists(self.url):
            return None
        if hold(self.spool, self.url) == "another process":
            raise ValueError(f"another command is training the run in {self.url}; stop it before --restart")
        return self.set_aside()

    def set_aside(self) -> str:
        """Move the run's folder to the first free NAME.1, NAME.2, ..., and return its address."""
        return set_aside(self.url, self.spool)

    @storage.patience(0)
    def with_start(self, experiment: Experiment) -> Experiment:
        """The experiment with `training.init_from` as the address of a checkpoint: of a run its newest one.

        Raises ValueError if it is neither; it may be gone once this run has checkpoints of its own.
        """
        source = experiment.training.init_from
        if source is None:
            return experiment
        if checkpoint.latest(self.url) is None:
            try:
                start = checkpoint.at(source)
            except ValueError as error:
                raise ValueError(f"training.init_from: {error}") from None
        else:
            began = self.experiment().training.init_from
            start = began if began and layout.run_of(began) == source.rstrip("/") else source
        return replace(experiment, training=replace(experiment.training, init_from=start))

    def _claim(self, experiment: Experiment, datasets: Sequence[Dataset], files: Mapping[str, str]) -> None:
        # Written once: of two commands that begin the same run at the same moment, the other is refused.
        storage.write_once(f"{self.url}/{layout.EXPERIMENT}", experiment.to_json().encode())
        began = self.experiment()
        declared = resume_differences(began, with_changes(began, self.changes()))
        other = [line for line in resume_differences(began, experiment) if line not in declared]
        if other:
            raise OtherRunError(
                f"the run {experiment.name!r} in {self.url} was started with other settings: {'; '.join(other)}"
            )
        self._claim_dataset(began, experiment, _identity(datasets))
        self._claim_files(began, experiment, files)

    def _claim_dataset(self, began: Experiment, experiment: Experiment, identity: dict[str, Any]) -> None:
        """Write down the checksums of the dataset that the run begins with, and refuse a dataset with others."""
        path, kept = experiment.data.path, f"{self.url}/{layout.DATASET}"
        known = storage.exists(kept)
        if not known and path != began.data.path and checkpoint.latest(self.url) is not None:
            raise OtherRunError(
                f"data.path={path}: the run {experiment.name!r} began with {began.data.path} and kept no checksums, so "
                f"nothing proves the images the same; resume it with data.path={began.data.path} once, which keeps them"
            )
        storage.write_once(kept, json.dumps(identity).encode())
        if storage.read_json(kept) != identity:
            raise OtherRunError(
                f"data.path={path} is not the dataset that the run {experiment.name!r} began with: its images have other "
                f"checksums than {layout.DATASET} in {self.url}; give that dataset, from any place, to resume it"
            )

    def _claim_files(self, began: Experiment, experiment: Experiment, files: Mapping[str, str]) -> None:
        """Write down the digests of the files that the run begins with, and refuse other files; runs of before have none."""
        if files:
            storage.write_once(f"{self.url}/{layout.FILES}", json.dumps(files).encode())
        known = storage.read_json(f"{self.url}/{layout.FILES}") if storage.exists(f"{self.url}/{layout.FILES}") else {}
        before, after = began.flatten(), experiment.flatten()
        for field in BY_DIGEST:
            moved = before[field] != after[field]
            if field == "training.init_from" and not moved:
                continue  # only a run without checkpoints reads it
            found = files.get(field)
            if (found is None and moved) or (found and known.get(field, found) != found):
                raise OtherRunError(
                    f"{field}={after[field]} is not the file that the run {experiment.name!r} began with "
                    f"({before[field]}, SHA-256 {known.get(field, 'not known')}); give that file, from any place, to resume it"
                )

    def finished_at(self, experiment: Experiment) -> checkpoint.CheckpointRef | None:
        """The last checkpoint, if the run has reached the end of its schedule."""
        newest = checkpoint.latest(self.url)
        return newest if newest and newest.nimg >= experiment.schedule.total_nimg else None

    def fail_on_first_rank(self, reason: str) -> None:
        """Rank 0 writes down why the run cannot go on."""
        if sync.rank() == 0:
            storage.write_json_verified(f"{self.url}/{layout.FAILURE}", {"reason": reason})

    def note_damage_on_first_rank(self, sentences: Sequence[str]) -> None:
        """Rank 0 writes down what damaged row groups the run has met."""
        known = self.damage() if sync.rank() == 0 else sentences
        if added := [sentence for sentence in sentences if sentence not in known]:
            storage.write_json_verified(f"{self.url}/{layout.DAMAGE}", {"row_groups": [*known, *added]})

    def damage(self) -> list[str]:
        """A sentence for each damaged row group whose images the run has skipped."""
        path = f"{self.url}/{layout.DAMAGE}"
        return storage.read_json(path)["row_groups"] if storage.exists(path) else []

    def begin(self) -> None:
        """A new attempt: the last one's failure is forgotten."""
        storage.delete_file(f"{self.url}/{layout.FAILURE}")

    def fetch_history(self) -> None:
        """The history of earlier attempts, from storage where this machine lacks it, with every tick of a checkpoint."""
        kept = f"{self.url}/{layout.HISTORY}"
        if not self.history.exists() and storage.exists(kept):
            self.spool.mkdir(parents=True, exist_ok=True)
            storage.download(kept, self.history)
        self.recover_ticks(History(self.history))

    def recover_ticks(self, history: History, before: float = math.inf) -> None:
        """Record the ticks of checkpoints that were never reported: a kill may come between upload and report.

        Those of checkpoints at `before` images and later may still be reported.
        """
        for saved in checkpoint.finished(self.url):
            if saved.nimg not in history and saved.nimg < before:
                for tick in checkpoint.read_ticks(saved.url):
                    history.add(tick)

    def keep_history(self, history: Path) -> None:
        """Copy the history to storage, if it is not there by itself: a job's next attempt may run elsewhere."""
        if not storage.is_local(self.url):
            storage.upload_verified(history, f"{self.url}/{layout.HISTORY}")

    def raise_failure(self) -> None:
        """RuntimeError with the reason and the last good checkpoint, if the run wrote down a failure."""
        if not storage.exists(f"{self.url}/{layout.FAILURE}"):
            return
        reason = storage.read_json(f"{self.url}/{layout.FAILURE}")["reason"]
        newest = checkpoint.latest(self.url)
        place = f"last checkpoint {newest.nimg / 1000:,.3f} kimg" if newest else "no checkpoint yet"
        raise RuntimeError(f"{reason}; {place} in {self.url}")


def _identity(datasets: Sequence[Dataset]) -> dict[str, Any]:
    """Checksums that identify the datasets; those of two domains by their folders."""
    if len(datasets) == 1:
        return datasets[0].identity
    return {folder: dataset.identity for folder, dataset in zip(FOLDERS, datasets, strict=True)}
