"""Means over a tick. The sums stay on the device until the tick, so nothing waits for the device in between."""

import resource
import time
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from alae_core.algorithm import Update
from alae_core.schedule import Level
from alae_core.state import TrainState

STARTED = "time/data_start_s"
"""A metric of the first tick after the workers started."""

LOSS = "loss/"
"""Prefix of an update's whole loss."""

# How the ranks' values are merged: the user waits for the slowest rank.
_WORST = {
    "time/data_wait_frac": max,
    STARTED: max,
    "memory/peak_gib": max,
    "time/images_per_s": min,
}


class Meter:
    """Sums the loss terms, the time and the data waits of the iterations since the last tick."""

    def __init__(self) -> None:
        self._data_start_s: float | None = None
        self._reset(0, 0.0, 0)

    def add(self, metrics: dict[str, Tensor]) -> None:
        """Add one iteration's terms (scalar tensors); a lazy update's terms are averaged over the iterations that ran it."""
        for name, value in metrics.items():
            total = self._sums.get(name)
            self._sums[name] = value.double() if total is None else total + value.double()
            self._counts[name] = self._counts.get(name, 0) + 1

    def tick(self, state: TrainState, level: Level, waited_s: float, skipped: int = 0) -> dict[str, float]:
        """Return the record of the iterations since the last call, and start anew.

        `waited_s`: seconds spent waiting for data since the process began. `skipped`: images skipped since then.
        """
        sums = torch.stack(list(self._sums.values())).tolist() if self._sums else []
        record = {name: value / self._counts[name] for name, value in zip(self._sums, sums, strict=True)}
        elapsed = time.perf_counter() - self._began
        images = state.nimg - self._nimg
        record |= {
            "progress/nimg": state.nimg,
            "progress/kimg": state.nimg / 1000,
            "progress/iteration": state.iteration,
            "progress/level": level.index,
            "progress/resolution": level.resolution,
            "progress/blend": level.blend,
            "progress/lr": level.lr,
            "time/total_s": state.seconds,
            "time/sec_per_kimg": 1000 * elapsed / max(images, 1),
            "time/images_per_s": images / elapsed,
            "time/data_wait_frac": (waited_s - self._waited_s) / elapsed,
            "data/skipped_images": skipped - self._skipped,
            "memory/peak_gib": _peak_gib(),
        }
        if self._data_start_s is not None:
            record[STARTED] = self._data_start_s
        self._reset(state.nimg, waited_s, skipped)
        return record

    def start(self, nimg: int, waited_s: float = 0.0, skipped: int = 0, data_start_s: float | None = None) -> None:
        """Begin counting at image `nimg`, as after a resume.

        `data_start_s`: seconds until the first batch arrived; the next tick reports it.
        """
        self._reset(nimg, waited_s, skipped)
        self._data_start_s = data_start_s

    def _reset(self, nimg: int, waited_s: float, skipped: int) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._nimg, self._waited_s, self._skipped = nimg, waited_s, skipped
        self._data_start_s = None
        self._began = time.perf_counter()


def losses(updates: Iterable[Update], level: Level, metrics: Mapping[str, float]) -> dict[str, float]:
    """`loss/<update>`, the weighted sum of the update's terms in a tick, for each update that ran in it."""
    found = {}
    for update in updates:
        weights, prefix = update.weights_at(level), f"{update.name}/"
        terms = {name.removeprefix(prefix): value for name, value in metrics.items() if name.startswith(prefix)}
        if terms:
            found[LOSS + update.name] = sum(weights.get(name, 1.0) * value for name, value in terms.items())
    return found


def merged(ranks: list[dict[str, float]]) -> dict[str, float]:
    """Merge the ranks' records of one tick: means of the loss terms, worst cases of waits, rates and memory."""
    record = {}
    for name in ranks[0]:
        values = [rank[name] for rank in ranks]
        combine = _WORST.get(name, lambda values: sum(values) / len(values))
        record[name] = values[0] if min(values) == max(values) else combine(values)
    return record


def _peak_gib() -> float:
    """Peak device memory in GiB since the last tick; on a CPU, the peak of this process so far."""
    if not torch.cuda.is_available():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    peak = torch.cuda.max_memory_allocated() / 2**30
    torch.cuda.reset_peak_memory_stats()
    return peak
