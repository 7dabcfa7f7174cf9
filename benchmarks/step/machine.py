"""Name of the machine, and the speed of its fastest square matrix product in each precision."""

import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.backends.cpu import get_cpu_capability as cpu_capability

from alae_core.noise import generator
from benchmarks.step.modes import Precision

CPU_SIZES = (512, 1024, 2048)
GPU_SIZES = (2048, 4096, 8192)
REPEATS = 5
SLOW_S = 0.5
"""Time of a product, in seconds, that ends the search over sizes, for example if the precision is emulated."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Machine of the measurement. Peaks are FLOP/s of torch.mm."""

    name: str
    torch_version: str
    threads: int
    fp32_peak: float
    bf16_peak: float
    tf32_peak: float | None
    """Peak of float32 matrices in TensorFloat-32; None on CPUs."""
    fp32_convolutions_in_tf32: bool
    """Whether float32 convolutions run in TensorFloat-32 here, as is torch's default on GPUs."""

    def peak(self, precision: Precision) -> float:
        """Peak in FLOP/s with which modes of the precision are compared."""
        if precision == "bf16":
            return self.bf16_peak
        return self.tf32_peak if self.tf32_peak and self.fp32_convolutions_in_tf32 else self.fp32_peak


def describe(device: str, sizes: tuple[int, ...] = ()) -> Machine:
    """Name and measured peaks of a device; `sizes` are the sides of the matrices, by default large enough for the device."""
    on_gpu = torch.device(device).type == "cuda"
    sizes = sizes or (GPU_SIZES if on_gpu else CPU_SIZES)
    tf32 = None
    if on_gpu:
        with _tf32_products():
            tf32 = matmul_peak(device, torch.float32, sizes)
    return Machine(
        name=torch.cuda.get_device_name(device) if on_gpu else f"{platform.machine()} CPU, {cpu_capability()}",
        torch_version=torch.__version__,
        threads=torch.get_num_threads(),
        fp32_peak=matmul_peak(device, torch.float32, sizes),
        bf16_peak=matmul_peak(device, torch.bfloat16, sizes),
        tf32_peak=tf32,
        fp32_convolutions_in_tf32=on_gpu and torch.backends.cudnn.allow_tf32,
    )


def matmul_peak(device: str, dtype: torch.dtype, sizes: tuple[int, ...]) -> float:
    """FLOP/s of the fastest product of two square matrices of any of the sizes."""
    draws = generator(device, 0, "benchmark matrices")
    best = 0.0
    for size in sizes:
        matrix = torch.randn(size, size, generator=draws, device=device).to(dtype)
        torch.mm(matrix, matrix)
        seconds = min(_seconds_of_product(matrix, device) for _ in range(REPEATS))
        best = max(best, 2 * size**3 / seconds)
        if seconds > SLOW_S:
            break
    return best


def _seconds_of_product(matrix: Tensor, device: str) -> float:
    start = now(device)
    torch.mm(matrix, matrix)
    return now(device) - start


def now(device: str) -> float:
    """Seconds on a clock that has waited for the device."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


@contextmanager
def _tf32_products() -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
