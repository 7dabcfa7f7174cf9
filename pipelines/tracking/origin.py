"""Where a run comes from, as MLflow shows it: preset and overrides, command, user, commit, and the params that matter."""

import getpass
import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from pipelines import presets, storage
from pipelines.experiment import Experiment
from pipelines.experiment.override import differences, resumable
from pipelines.presets.lookup import catalogue
from pipelines.runs import layout
from pipelines.runs.commit import commit
from pipelines.storage.address import redact

MOST_PARAMS = 12
"""MLflow writes all params of a run over each of its images."""
PLACES = ("name", "tracking.", "data.path", "data.read_ahead_gib", "training.storage", "scaling.")
"""Fields that say where a run is or how it is spread, not what it does."""
BESIDE = ("evaluation.", "training.tick_kimg", "data.window_images")
"""Fields that reviewers need not see beside each image: they are in the overrides."""
ORDER = ("algorithm.", "training.", "schedule.", "seed", "data.")
TRAINS = ("train", "tune")
"""Commands that start a run, as opposed to those that look at it later."""


@dataclass(frozen=True)
class Origin:
    """Where a run comes from."""

    experiment: Experiment
    preset: str | None
    """The preset of the same algorithm that the experiment differs least from."""
    changed: Mapping[str, str]
    """Dotted path -> value of the fields that differ from the preset, less places."""
    command: str
    commit: str | None
    user: str

    @classmethod
    def of(cls, experiment: Experiment, run_url: str, commit_of_run: str | None = None) -> "Origin":
        """The origin of the run in a folder; `commit_of_run` is the one that trained, if another one looks at it now."""
        preset, changed = nearest(experiment.to_json())
        return cls(experiment, preset, changed, _command(run_url), commit_of_run or commit(), _user())

    def params(self) -> dict[str, str | int | float | bool | None]:
        """The settings of the training that differ from the preset, at most a dozen; the algorithm's first."""
        flat = self.experiment.flatten()
        shown = [path for path in self.changed if not path.startswith(BESIDE) and not resumable(path)]
        return {path: flat[path] for path in shown[:MOST_PARAMS]}

    def tags(self) -> dict[str, str]:
        """Tags that follow the run."""
        found = {"alae.algorithm": self.experiment.algorithm.kind, "alae.preset": self.preset or "none"}
        return found | {"alae.overrides": self.overrides() or "none"}

    def source(self) -> dict[str, str]:
        """MLflow's own tags, which belong to whoever starts the run and are not changed later."""
        found = {"mlflow.source.name": self.command, "mlflow.source.type": "LOCAL", "mlflow.user": self.user}
        return found | ({"mlflow.source.git.commit": self.commit} if self.commit else {})

    def overrides(self) -> str:
        """The changed settings as a command line takes them."""
        return redact(" ".join(shlex.quote(f"{path}={value}") for path, value in self.changed.items()))


def nearest(text: str) -> tuple[str | None, dict[str, str]]:
    """The preset of the same algorithm that an experiment in JSON differs least from, and the fields that differ."""
    experiment = Experiment.from_json(text)
    found: dict[str, dict[str, str]] = {}
    for name in _names(experiment.algorithm.kind):
        found[name] = _changed(presets.load(name), experiment)
        if not found[name]:
            break
    # The run's own name decides between presets that are equally near.
    best = min(found, key=lambda name: (len(found[name]), not experiment.name.startswith(name)), default=None)
    return best, found[best] if best else {}


def _changed(preset: Experiment, experiment: Experiment) -> dict[str, str]:
    flat = experiment.flatten()
    paths = [path for path in differences(preset, experiment) if not path.startswith(PLACES) and path in flat]
    paths.sort(key=lambda path: next((rank for rank, group in enumerate(ORDER) if path.startswith(group)), len(ORDER)))
    return {path: str(flat[path]) for path in paths}


@cache
def _names(kind: str) -> tuple[str, ...]:
    """The presets of ours that train an algorithm, with their other forms."""
    named = [name for name in catalogue.ours() if presets.load(name).algorithm.kind == kind]
    return (*named, *(f"debug_{name}" for name in named))


def _command(run_url: str) -> str:
    """The command of this process if it starts runs, else one that trains from the experiment that the run wrote down."""
    program, *arguments = sys.argv or [""]
    if arguments and arguments[0] in TRAINS and os.path.basename(program) in ("alae", "__main__.py"):
        return redact(shlex.join(["alae", *arguments]))
    folder = run_url if "://" in run_url else os.path.abspath(run_url)
    return f"alae train {redact(storage.join(folder, layout.EXPERIMENT))}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return "unknown"
