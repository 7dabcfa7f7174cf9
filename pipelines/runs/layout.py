"""Every file and folder name of a run, spelled once: functions that build a name inside the run's folder, and that parse one."""

import re

EXPERIMENT = "experiment.json"
"""The experiment as the run was started."""
DATASET = "dataset.json"
"""Checksums of the dataset."""
FILES = "files.json"
"""SHA-256 of other files that the run began with, by the field that names them."""
FAILURE = "failure.json"
DAMAGE = "damage.json"
ALARMS = "alarms.json"
LEADER = "best.json"
"""The evaluations that were compared to find the best checkpoint."""

HISTORY = "history.jsonl"
TRACKING = "tracking.json"
TRACKING_LOCK = "tracking.lock"

STATE, EMA, MANIFEST = "state.pt", "ema.safetensors", "manifest.json"
"""The files of a checkpoint; a folder without the last is none."""

BEST = "best"
EVALUATIONS = "evaluations"
FIGURES = "figures"
CHARTS = "charts"
DIRECTIONS = "directions"

CHANGES = "changes.json"
"""The changes of settings that were declared in mid-run (`alae change`)."""

_CHECKPOINT = re.compile(r"checkpoint_(\d{12})")
_CHART = re.compile(r"(.+)_(\d{12})\.png")


def lock_name(name: str) -> str:
    """The file beside the folder of the run `name` that the process training it has locked."""
    return f".{name}.lock"


def checkpoint_name(nimg: int) -> str:
    """The folder of the checkpoint at `nimg`; names sort by progress."""
    return f"checkpoint_{_digits(nimg)}"


def checkpoint_nimg(name: str) -> int | None:
    """The nimg in a checkpoint's folder name; None where it is another name."""
    match = _CHECKPOINT.fullmatch(name)
    return int(match[1]) if match else None


def best_path(name: str) -> str:
    """The copy of the checkpoint `name` that the retention leaves alone."""
    return f"{BEST}/{name}"


def run_of(checkpoint_url: str) -> str:
    """The run's folder of a checkpoint, whether it lies there or in `best`."""
    return checkpoint_url.rpartition("/")[0].removesuffix(f"/{BEST}") or "."


def checkpoint_in(run_url: str, address: str) -> str:
    """The address inside `run_url` of a checkpoint of that run, given relative to the run or as it was when it was saved."""
    *folders, name = address.rstrip("/").split("/")
    return f"{run_url}/{best_path(name) if folders[-1:] == [BEST] else name}"


def relative_checkpoint(address: str) -> str:
    """The path of a checkpoint relative to its run: `checkpoint_<nimg>`, or that name inside `best`."""
    return checkpoint_in("", address)[1:]


def evaluation_path(nimg: int, added: str = "") -> str:
    """The run's own evaluation of the checkpoint at `nimg`, or with a digest `added` one beside it."""
    return f"{EVALUATIONS}/{_digits(nimg)}{f'_{added}' if added else ''}.json"


def is_own_evaluation(path: str) -> bool:
    """Whether an evaluation was taken by the run itself, and not added by `alae evaluate`."""
    return "_" not in path.rpartition("/")[2]


def figure_path(name: str, nimg: int) -> str:
    """The page `name` of the checkpoint at `nimg`."""
    return f"{FIGURES}/{name}_{_digits(nimg)}.png"


def chart_path(title: str, nimg: int) -> str:
    """The chart `title` of the ticks and evaluations up to `nimg`."""
    return f"{CHARTS}/{re.sub(r'[^a-z0-9]+', '_', title.lower()).strip('_')}_{_digits(nimg)}.png"


def chart_key(name: str) -> tuple[str, int] | None:
    """(`charts/<name>`, nimg) of a chart's file name; None where it is another file."""
    match = _CHART.fullmatch(name)
    return (f"{CHARTS}/{match[1]}", int(match[2])) if match else None


def directions_path(nimg: int, ending: str) -> str:
    """The directions of editing found at the checkpoint at `nimg`: `ending` is safetensors or json."""
    return f"{DIRECTIONS}/{_digits(nimg)}.{ending}"


def _digits(nimg: int) -> str:
    return f"{nimg:012d}"
