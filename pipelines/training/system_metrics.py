"""The load of the machine, under MLflow's own names, so that its page of system metrics shows it."""

import logging
import os
from collections.abc import Callable
from importlib.util import find_spec

import psutil
import torch

log = logging.getLogger(__name__)


class SystemMetrics:
    """Reads the machine at each call; rates are since the call before (the first: since construction).

    The disk is the one that holds `folder`. `node` distinguishes machines where several report: system/<node>/...
    A call never raises: it leaves out a value that cannot be read, and logs that once.
    """

    def __init__(self, folder: str | os.PathLike[str], node: str | None = None) -> None:
        self._folder = os.fspath(folder)
        self._prefix = f"system/{node}/" if node else "system/"
        self._unreadable: set[str] = set()
        self._traffic = (0.0, 0.0)
        self()

    def __call__(self) -> dict[str, float]:
        """Percentages in [0, 100], sizes in MB (1e6 bytes), power in watts."""
        values: dict[str, float] = {}
        for probe in (self._processor, self._memory, self._disk, self._network, _gpus):
            values |= self._read(probe)
        return {self._prefix + name: round(float(value), 1) for name, value in values.items()}

    def _read(self, probe: Callable[[], dict[str, float]]) -> dict[str, float]:
        try:
            return probe()
        except Exception as error:
            if probe.__name__ not in self._unreadable:
                log.warning("system metrics go without %s: %r", probe.__name__.strip("_"), error)
            self._unreadable.add(probe.__name__)
            return {}

    def _processor(self) -> dict[str, float]:
        return {"cpu_utilization_percentage": psutil.cpu_percent()}

    def _memory(self) -> dict[str, float]:
        memory = psutil.virtual_memory()
        return {
            "system_memory_usage_megabytes": memory.used / 1e6,
            "system_memory_usage_percentage": memory.used / memory.total * 100,
        }

    def _disk(self) -> dict[str, float]:
        disk = psutil.disk_usage(self._folder)
        return {
            "disk_usage_percentage": disk.percent,
            "disk_usage_megabytes": disk.used / 1e6,
            "disk_available_megabytes": disk.free / 1e6,
        }

    def _network(self) -> dict[str, float]:
        counters = psutil.net_io_counters()
        before, self._traffic = self._traffic, (counters.bytes_recv / 1e6, counters.bytes_sent / 1e6)
        return {
            "network_receive_megabytes": self._traffic[0] - before[0],
            "network_transmit_megabytes": self._traffic[1] - before[1],
        }


def _gpus() -> dict[str, float]:
    if find_spec("pynvml"):
        return _gpus_by_nvml()
    # Asking torch would give a process without a CUDA context one, which costs some hundred MB of the GPU.
    if not torch.cuda.is_initialized():
        return {}
    free, total = torch.cuda.mem_get_info()
    return _gpu_memory(torch.cuda.current_device(), total - free, total)


def _gpus_by_nvml() -> dict[str, float]:
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return {}  # no GPU, or no driver
    values: dict[str, float] = {}
    for index in range(pynvml.nvmlDeviceGetCount()):
        device = pynvml.nvmlDeviceGetHandleByIndex(index)
        memory = pynvml.nvmlDeviceGetMemoryInfo(device)
        values |= _gpu_memory(index, memory.used, memory.total)
        values[f"gpu_{index}_utilization_percentage"] = pynvml.nvmlDeviceGetUtilizationRates(device).gpu
        values[f"gpu_{index}_power_usage_watts"] = pynvml.nvmlDeviceGetPowerUsage(device) / 1000
    return values


def _gpu_memory(index: int, used: float, total: float) -> dict[str, float]:
    return {
        f"gpu_{index}_memory_usage_megabytes": used / 1e6,
        f"gpu_{index}_memory_usage_percentage": used / total * 100,
    }
