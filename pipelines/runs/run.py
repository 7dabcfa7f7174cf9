"""The places of one run, its identity, and whether it may go on."""

import json
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
from pipelines.runs.history import History


@dataclass(frozen=True)
class Run:
    """A run's folder on storage."""

    url: str

    @classmethod
    def of(cls, experiment: Experiment) -> "Run":
        """The run's folder; a local one is made absolute, since Ray's workers run elsewhere."""
        return cls(f"{_absolute(experiment.training.storage).rstrip('/')}/{experiment.name}")

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
            raise ValueError(f"{self.url} is not a run: it has no {layout.EXPERIMENT}")
        return replace(Experiment.from_json(storage.read_bytes(path).decode()), name=self.name)

    def claim(
        self, experiment: Experiment, datasets: Sequence[Dataset], files: Mapping[str, str] | None = None
    ) -> None:
        """Write down what this run is, on which datasets; refuse with the differences if it already is something else.

        `files` holds the SHA-256 of each file that a field of `BY_DIGEST` names.
        """
        # Written once: of two commands that begin the same run at the same moment, the other is refused.
        storage.write_once(f"{self.url}/{layout.EXPERIMENT}", experiment.to_json().encode())
        began = self.experiment()
        differences = resume_differences(began, experiment)
        if differences:
            raise ValueError(
                f"the run {experiment.name!r} in {self.url} was started with other settings: "
                + "; ".join(differences)
                + ". Repeat the earlier settings to resume it, or give another name=... to start a new run"
            )
        self._claim_dataset(began, experiment, _identity(datasets))
        self._claim_files(began, experiment, files or {})

    def _claim_dataset(self, began: Experiment, experiment: Experiment, identity: dict[str, Any]) -> None:
        """Write down the checksums of the dataset that the run begins with, and refuse a dataset with others."""
        path, kept = experiment.data.path, f"{self.url}/{layout.DATASET}"
        known = storage.exists(kept)
        if not known and path != began.data.path and checkpoint.latest(self.url) is not None:
            raise ValueError(
                f"data.path={path}: the run {experiment.name!r} began with {began.data.path} and kept no checksums, so "
                f"nothing proves the images the same; resume it with data.path={began.data.path} once, which keeps them"
            )
        storage.write_once(kept, json.dumps(identity).encode())
        if storage.read_json(kept) != identity:
            raise ValueError(
                f"data.path={path} is not the dataset that the run {experiment.name!r} began with: its images have other "
                f"checksums than {layout.DATASET} in {self.url}; give the dataset that it began with, from any place, to "
                "resume it, or give another name=... to start a new run"
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
                raise ValueError(
                    f"{field}={after[field]} is not the file that the run {experiment.name!r} began with "
                    f"({before[field]}, SHA-256 {known.get(field, 'not known')}); give that file, from any place, to "
                    "resume it, or give another name=... to start a new run"
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
