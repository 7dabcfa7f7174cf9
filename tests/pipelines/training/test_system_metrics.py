"""System metrics carry MLflow's names, and never cost a run anything."""

import sys
import types
from pathlib import Path

import psutil
import pytest
import torch

from pipelines.training.system_metrics import SystemMetrics


def test_names_are_those_of_mlflows_own_monitors(tmp_path: Path) -> None:
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

    expected = set()
    for monitor in (CPUMonitor(), DiskMonitor(), NetworkMonitor()):
        monitor.collect_metrics()
        expected |= {f"system/{name}" for name in monitor.metrics}
    values = SystemMetrics(tmp_path)()
    assert {name for name in values if "gpu_" not in name} == expected
    assert all(0 <= value <= 100 for name, value in values.items() if name.endswith("percentage"))


def test_network_traffic_is_counted_since_the_call_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counters = types.SimpleNamespace(bytes_recv=7e6, bytes_sent=1e6)
    monkeypatch.setattr(psutil, "net_io_counters", lambda: counters)
    read = SystemMetrics(tmp_path, node="node_1")
    counters.bytes_recv, counters.bytes_sent = 10e6, 1.5e6
    first, second = read(), read()
    assert first["system/node_1/network_receive_megabytes"] == 3.0
    assert first["system/node_1/network_transmit_megabytes"] == 0.5
    assert second["system/node_1/network_receive_megabytes"] == 0.0


def test_what_cannot_be_read_is_left_out_and_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(psutil, "net_io_counters", lambda: None)
    read = SystemMetrics(tmp_path)
    values = read()
    assert "system/network_receive_megabytes" not in values
    assert "system/cpu_utilization_percentage" in values
    assert caplog.text.count("system metrics go without network") == 1


def test_gpus_are_read_through_nvml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = types.ModuleType("pynvml")
    nvml.__spec__ = types.SimpleNamespace(name="pynvml")  # type: ignore[assignment]
    vars(nvml).update(
        NVMLError=RuntimeError,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetMemoryInfo=lambda _: types.SimpleNamespace(used=20e9, total=80e9),
        nvmlDeviceGetUtilizationRates=lambda _: types.SimpleNamespace(gpu=97),
        nvmlDeviceGetPowerUsage=lambda _: 650_000,
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    values = SystemMetrics(tmp_path)()
    assert values["system/gpu_0_memory_usage_megabytes"] == 20_000.0
    assert values["system/gpu_0_memory_usage_percentage"] == 25.0
    assert values["system/gpu_0_utilization_percentage"] == 97.0
    assert values["system/gpu_0_power_usage_watts"] == 650.0


def test_a_process_without_a_cuda_context_is_not_given_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda *_: asked.append(1))
    monkeypatch.setattr("pipelines.training.system_metrics.find_spec", lambda _: None)
    SystemMetrics(tmp_path)()
    assert not asked
