"""Run of the plain loop in one process that measures its CPU time without evaluations and continues after a kill.

OUT holds experiment.json, curve.jsonl with a line per evaluation, and state.pt, the state of the last line.
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from alae_core.engine import Metrics
from alae_core.fit import fit
from alae_core.state import TrainState
from pipelines.experiment import Experiment
from pipelines.experiment.override import resume_differences
from pipelines.training.worker import engine

CHECKED_EVERY = 256
"""Images between two checks of the time limit."""


@dataclass(kw_only=True)
class ClockedRun:
    """Trains `experiment` on `pixels`, uint8 [N, R, R, C] or two of them; evaluates every `every_kimg` and at the end.

    Raises ValueError if `out` holds a run of another experiment.
    """

    experiment: Experiment
    pixels: NDArray[np.uint8] | tuple[NDArray[np.uint8], ...]
    out: Path
    every_kimg: float
    evaluate: Callable[[TrainState], dict[str, float]]
    """Function that returns a state's scores by name, without gradients; its time is not counted."""
    after_line: Callable[[list[dict[str, Any]]], None] = lambda lines: None
    """Function called with all lines of the curve after each new one; its time is not counted."""
    cpu_minutes: float | None = None
    """CPU time of the process after which the run ends; None: it ends with its schedule."""
    state: TrainState = field(init=False)
    cpu_s: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        training = self.experiment.training
        self.state = TrainState.build(
            self.experiment.algorithm, self.experiment.seed, training.optimizer, averages_from=training.averages_from
        )
        self._sums: dict[str, tuple[float, int]] = {}
        self.out.mkdir(parents=True, exist_ok=True)
        self._keep_experiment()
        self._resume()

    def run(self) -> None:
        """Train to the end of the run, where the last line is written."""
        every = round(1000 * self.every_kimg)
        while not self._over:
            due = (self.state.nimg // every + 1) * every
            self._train(due if self.cpu_minutes is None else min(due, self.state.nimg + CHECKED_EVERY))
            if self.state.nimg >= due or self._over:
                self._write_down()

    @property
    def _over(self) -> bool:
        late = self.cpu_minutes is not None and self.cpu_s >= 60 * self.cpu_minutes
        return late or self.state.nimg >= self.experiment.schedule.total_nimg

    def _train(self, until_nimg: int) -> None:
        began = time.process_time()
        fit(self.state, engine(self.experiment), self.pixels, until_nimg=until_nimg, on_iteration=self._add)
        self.cpu_s += time.process_time() - began

    def _add(self, state: TrainState, metrics: Metrics) -> None:
        for name, value in metrics.items():
            total, count = self._sums.get(name, (0.0, 0))
            self._sums[name] = (total + float(value), count + 1)

    def _write_down(self) -> None:
        """Write a line of the curve, with the mean of each term since the previous line, and then the state."""
        terms = {name: total / count for name, (total, count) in self._sums.items()}
        self._sums = {}
        with torch.no_grad():
            scores = self.evaluate(self.state)
        line = {"kimg": self.state.nimg / 1000, "cpu_s": round(self.cpu_s, 1), **terms, **scores}
        with self._curve.open("a") as curve:
            curve.write(json.dumps(line) + "\n")
        self.after_line(lines(self.out))
        part = self._saved.with_suffix(".part")
        torch.save({"state": self.state.state_dict(), "cpu_s": self.cpu_s}, part)
        os.replace(part, self._saved)
        print(json.dumps({name: round(value, 4) for name, value in line.items()}), flush=True)

    def _keep_experiment(self) -> None:
        path = self.out / "experiment.json"
        if path.exists():
            changed = resume_differences(Experiment.from_json(path.read_text()), self.experiment)
            if changed:
                raise ValueError(f"--out: {self.out} holds another run ({'; '.join(changed)}); give another folder")
        else:
            path.write_text(self.experiment.to_json())

    def _resume(self) -> None:
        if not self._saved.exists():
            self._curve.unlink(missing_ok=True)
            return
        saved: dict[str, Any] = torch.load(self._saved, weights_only=True)
        self.state.load_state_dict(saved["state"])
        self.cpu_s = saved["cpu_s"]
        # A run killed between writing the line and the state writes the line again.
        kept = [line for line in lines(self.out) if line["kimg"] <= self.state.nimg / 1000]
        self._curve.write_text("".join(json.dumps(line) + "\n" for line in kept))

    @property
    def _curve(self) -> Path:
        return self.out / "curve.jsonl"

    @property
    def _saved(self) -> Path:
        return self.out / "state.pt"


def lines(out: Path) -> list[dict[str, Any]]:
    """Lines of a run's curve, in order."""
    return [json.loads(line) for line in (out / "curve.jsonl").read_text().splitlines()]
