"""Alarms and charts that an algorithm declares, computed from the run's ticks and kept in its folder."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from alae_core.alarms import Raised, raised
from alae_core.capabilities import Charted, alarms_of
from pipelines import storage
from pipelines.experiment import Experiment
from pipelines.pictures import grids
from pipelines.pictures.curves import chart_page, curve_page
from pipelines.runs import layout
from pipelines.runs.evaluations import Evaluations
from pipelines.runs.history import Tick, read_history
from pipelines.runs.values import curves, measured_names

__all__ = ["Raised", "Watch", "list_charts", "read_alarms"]

METRICS = "metrics"
"""Title of the chart that every evaluated run has."""

log = logging.getLogger(__name__)


class Watch:
    """Follows a history as it is written; the alarms it finds are a function of the ticks alone."""

    def __init__(self, experiment: Experiment, history: Path) -> None:
        self._alarms = alarms_of(experiment.algorithm)
        config = experiment.algorithm
        self._charts: Mapping[str, Sequence[str]] = config.charts if isinstance(config, Charted) else {}
        self._schedule = experiment.schedule
        self._tick_nimg = experiment.training.tick_nimg
        self._history, self._offset = history, 0
        self._ticks: list[Tick] = []
        self._evaluations: Evaluations | None = None
        self._judged = 0
        self._raised: tuple[Raised, ...] = ()
        self._noted: tuple[Raised, ...] = ()

    def alarms(self) -> tuple[Raised, ...]:
        """The alarms that the ticks so far raise, by the time of their first window."""
        self._read()
        if self._alarms and len(self._ticks) > self._judged:
            self._judged = len(self._ticks)
            self._raised = raised(self._alarms, self._ticks, self._schedule, self._tick_nimg)
        return self._raised

    def note(self, run_url: str) -> None:
        """Write the alarms to the run's folder, if there are other ones than before."""
        if self.alarms() != self._noted:
            found = [dataclasses.asdict(each) for each in self._raised]
            storage.write_json_verified(f"{run_url}/{layout.ALARMS}", {"alarms": found})
            self._noted = self._raised

    def draw(self, run_url: str, nimg: int) -> None:
        """Write each chart of the ticks, and the evaluations' metrics, so far to the run's folder, named by the images seen."""
        self._read()
        pages = {
            title: chart_page(title, drawn)
            for title, names in self._charts.items()
            if (drawn := curves(names, self._ticks))
        }
        if self._evaluations is None or self._evaluations.run_url != run_url:
            self._evaluations = Evaluations(run_url)
        evaluations = self._evaluations.all(own=True)
        if measured := curves(measured_names(evaluations), evaluations=evaluations):
            pages[METRICS] = curve_page(measured)
        for title, page in pages.items():
            storage.write_bytes_verified(f"{run_url}/{layout.chart_path(title, nimg)}", grids.png_bytes(page))

    def _read(self) -> None:
        if self._alarms or self._charts:
            ticks, self._offset = read_history(self._history, self._offset)
            self._ticks += ticks


def read_alarms(run_url: str) -> tuple[Raised, ...]:
    """The alarms that a run has raised; none if it has not, or if their file is damaged."""
    path = f"{run_url}/{layout.ALARMS}"
    if not storage.exists(path):
        return ()
    try:
        return tuple(Raised(**each) for each in storage.read_json(path)["alarms"])
    except (ValueError, KeyError, TypeError) as error:
        log.warning("%s is damaged: %r", path, error)
        return ()


def list_charts(run_url: str) -> dict[tuple[str, int], str]:
    """The charts of a run: (`charts/<name>`, nimg) -> path inside its folder."""
    keys = {name: layout.chart_key(name) for name in storage.list_dir(f"{run_url}/{layout.CHARTS}")}
    return {key: f"{layout.CHARTS}/{name}" for name, key in keys.items() if key}
