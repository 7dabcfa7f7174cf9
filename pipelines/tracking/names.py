"""Names of metrics and images in MLflow, whose pages show one section of charts per prefix, in the order of the alphabet.

The sections: `eval` (quality), `figures`, `loss`, `schedule` (level changes), `standard_error`, `throughput`, and last
`tracking`, which holds bookkeeping. `system/` has a page of its own.
"""

from pipelines.runs import layout

SCHEDULE = ("level", "resolution", "blend", "lr")
THROUGHPUT = ("sec_per_kimg", "images_per_s", "data_wait_frac")
ABOUT_EVALUATIONS = ("nimg", "resolution", "samples", "seconds")
ERROR = "_se"

TICK_MARKER = "tracking/nimg"
EVALUATION_MARKER = "tracking/evaluation_nimg"
EARLIER_MARKERS = {TICK_MARKER: "progress/nimg", EVALUATION_MARKER: "eval/nimg"}
"""The markers of runs that were tracked before the sections, whose metrics keep the names of the run's files."""


def metric(name: str) -> str:
    """The name in MLflow of a metric of the run's files; losses, which are named after their updates, get `loss/`."""
    section, slash, rest = name.partition("/")
    if not slash or section == "system":
        return name
    match section:
        case "eval" if rest in ABOUT_EVALUATIONS:
            return f"tracking/evaluation_{rest}"
        case "eval":
            return f"standard_error/{rest.removesuffix(ERROR)}" if rest.endswith(ERROR) else name
        case "progress":
            return f"{'schedule' if rest in SCHEDULE else 'tracking'}/{rest}"
        case "time":
            return f"{'throughput' if rest in THROUGHPUT else 'tracking'}/{rest}"
        case "memory":
            return f"throughput/memory_{rest}"
        case "data":
            return f"tracking/{rest}"
        case _:
            return f"loss/{name}"


def figure(key: str) -> str:
    """The key in MLflow of a page or of a chart (`charts/<name>`) of the run's folder; keeps a key that has its prefix."""
    if key.startswith(f"{layout.FIGURES}/"):
        return key
    return f"{layout.FIGURES}/{key.replace('/', '_')}"
