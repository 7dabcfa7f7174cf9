"""The note at the top of a run's page in MLflow, in Markdown: what it is, what came out, and where to look."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from alae_core.alarms import Raised
from pipelines.runs import layout
from pipelines.runs.evaluations import Evaluation
from pipelines.runs.history import Tick
from pipelines.runs.results import Reading, best, readable, series
from pipelines.tracking.origin import Origin

OURS = "<!-- written by alae; text of your own stays if you remove this line -->"
"""A note with this line is written anew with every change; MLflow does not show it."""
MOST_ROWS = 12
LENGTH = 7500
"""MLflow's limit for a tag is 8,000 characters."""

COMMIT_LENGTH = 12


@dataclass(frozen=True)
class Progress:
    """How far a run is: its newest tick, and the first tick of each level."""

    nimg: int
    levels: Sequence[tuple[int, int]]
    """(nimg, side in px) of the first tick of each level."""

    @classmethod
    def of(cls, ticks: Iterable[Tick]) -> "Progress":
        """The progress that ticks in order of nimg show."""
        return cls(0, ()).after(ticks)

    def after(self, ticks: Iterable[Tick]) -> "Progress":
        """This progress with the ticks that followed it."""
        nimg, levels = self.nimg, list(self.levels)
        for tick in sorted(ticks, key=lambda tick: tick.nimg):
            side = tick.metrics.get("progress/resolution")
            if side is not None and (not levels or levels[-1][1] != side):
                levels.append((nimg, int(side)))
            nimg = max(nimg, tick.nimg)
        return Progress(nimg, tuple(levels))


@dataclass(frozen=True, kw_only=True)
class Story:
    """All that a note is written from."""

    run_url: str
    run_id: str
    experiment_id: str
    origin: Origin | None
    dataset: str
    """The dataset in words; "" where it cannot be read."""
    progress: Progress
    evaluations: Sequence[Evaluation]
    """The run's own, by nimg."""
    deciding: str | None
    """The key of the metric that decides."""
    best_place: str | None
    """Where the best checkpoint lies; None where it does no more."""
    alarms: Sequence[Raised]
    pictures: Mapping[str, int]
    """Artifact -> nimg of the newest pages."""
    overview: str | None
    """Artifact of the picture that the note shows."""
    status: str = "RUNNING"
    """The run's status in MLflow."""


def note(story: Story) -> str:
    """The note; at most 7,500 characters."""
    blocks = [_state(story), _picture(story), _results(story), *_facts(story), OURS]
    return "\n\n".join(block for block in blocks if block)[:LENGTH]


def _state(story: Story) -> str:
    done = f"{_kimg(story.progress.nimg)}"
    total = story.origin and story.origin.experiment.schedule.total_nimg
    reached = f"{done} of {_kimg(total)} kimg" if total else f"{done} kimg"
    word = story.status.lower()
    alarms = "\n".join(f"- **alarm {alarm.name}**: {alarm}" for alarm in story.alarms)
    head = f"**{word.capitalize()}** at {reached}" + ("" if story.alarms else "; no alarm")
    if story.origin:
        config = story.origin.experiment.algorithm
        channels = "grayscale" if getattr(config, "channels", 3) == 1 else "colour"
        head += f". `{config.kind}` on {channels} images of {config.resolution}x{config.resolution} px"
    return f"{head}.\n\n{alarms}".strip()


def _picture(story: Story) -> str:
    if not story.overview or not story.pictures:
        return ""
    at = max(story.pictures.values())
    # The parameter `at` serves no one but the browser's cache: the artifact of this name changes.
    source = f"get-artifact?path={quote(story.overview, safe='')}&run_uuid={story.run_id}&at={at}"
    pages = ", ".join(f"[{_title(path)}]({_artifact(story, path)})" for path in story.pictures)
    return f"![newest pages]({source})\n\nPages at {_kimg(at)} kimg, whole: {pages}"


def _results(story: Story) -> str:
    if not story.evaluations:
        return ""
    last = story.evaluations[-1]
    rows = [_row(series(story.evaluations, key), reading) for key, reading in readable(last).items()]
    if not rows:
        return ""
    size = f"{last.resolution}x{last.resolution} px"
    rows.sort(key=lambda row: row[0] != story.deciding)
    lines = [f"| metric ({size}) | better | first | best | last |", "|---|---|---|---|---|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows[:MOST_ROWS]]
    return "\n".join(lines) + f"\n\n± is one standard error.{_change(story)}"


def _row(found: Sequence[Reading], newest: Reading) -> tuple[str, ...]:
    leader = best(found) if newest.protocol.row.better != "neither" else None
    return (
        newest.key,
        newest.protocol.row.better,
        _cell(found[0]) if found else "-",
        _cell(leader) if leader else "-",
        _cell(newest),
    )


def _cell(reading: Reading) -> str:
    return f"{reading.estimate} at {_kimg(reading.nimg)} kimg"


def _change(story: Story) -> str:
    """Whether the deciding metric has changed by more than noise between the first and the last evaluation."""
    from alae_core.metrics.estimate import differ

    found = series(story.evaluations, story.deciding) if story.deciding else []
    if len(found) < 2 or None in (found[0].estimate.standard_error, found[-1].estimate.standard_error):
        return ""
    changed = differ(found[-1].estimate, found[0].estimate)
    verb = "exceeds" if changed else "does not exceed"
    return f" The change of {story.deciding} from the first to the last evaluation {verb} the noise."


def _facts(story: Story) -> list[str]:
    lines = []
    found = series(story.evaluations, story.deciding) if story.deciding else []
    leader = best(found)
    if leader:
        place = f"`{story.best_place}`" if story.best_place else "no longer kept"
        lines.append(f"best checkpoint (by {leader.key}): {_kimg(leader.nimg)} kimg, {place}")
    if story.progress.levels:
        levels = ", ".join(f"{side} px from {_kimg(nimg)} kimg" for nimg, side in story.progress.levels)
        lines.append(f"levels: {levels}")
    if story.dataset:
        lines.append(f"dataset {story.dataset}")
    if origin := story.origin:
        lines.append(f"command: `{origin.command}`")
        lines.append(f"preset: `{origin.preset}`" + (f" with `{origin.overrides()}`" if origin.changed else ""))
        lines.append(f"commit: `{(origin.commit or 'unknown')[:COMMIT_LENGTH]}`, user: {origin.user}")
    lines.append(f"run: `{story.run_url}`; settings: [{layout.EXPERIMENT}]({_artifact(story, layout.EXPERIMENT)})")
    return ["\n".join(f"- {line}" for line in lines)]


def _artifact(story: Story, path: str) -> str:
    return f"#/experiments/{story.experiment_id}/runs/{story.run_id}/artifacts/{path}"


def _title(path: str) -> str:
    return path.rpartition("/")[2].rpartition(".")[0].replace("_", " ")


def _kimg(nimg: int) -> str:
    return f"{nimg / 1000:g}"
