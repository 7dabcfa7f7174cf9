"""Shares of an iteration's time by groups of operations, from torch's profiler."""

from collections.abc import Sequence
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.step.cases import Phase
from benchmarks.step.machine import now
from benchmarks.step.reference import OPTIMIZER_SCOPE

GROUPS = (
    "convolution",
    "blur",
    "matrix product",
    "norm and statistics",
    "pointwise",
    "compiled kernels",
    "optimizer",
    "noise",
    "resizing",
    "copies",
    "other",
)
# By words in an operation's name, the first that fits.
_WORDS = (
    ("optimizer", ("_fused_adam", "_foreach_", "foreach_lerp")),
    ("compiled kernels", ("compiledfunction", "compiled region", "compiledfxgraph", "triton", "cpp_fused")),
    ("noise", ("randn", "normal_", "uniform_", "rand", "random_")),
    ("resizing", ("upsample", "avg_pool", "interpolate")),
    ("blur", ("blur",)),
    ("convolution", ("conv",)),
    ("matrix product", ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::linear", "aten::matmul")),
    ("norm and statistics", ("batch_norm", "instance_norm", "aten::mean", "aten::sum", "aten::var", "norm")),
    (
        "pointwise",
        ("add", "sub", "mul", "div", "leaky_relu", "sqrt", "pow", "square", "reciprocal", "neg", "lerp", "where"),
    ),
    ("copies", ("aten::copy_", "_to_copy", "aten::clone", "aten::contiguous", "aten::cat")),
    ("pointwise", ("softplus", "sigmoid", "aten::gt", "aten::lt", "exp")),
)
_OPTIMIZER_SCOPES = (OPTIMIZER_SCOPE, "Optimizer.step")


def shares_by_group(parts: Sequence[Phase], device: str) -> dict[str, float]:
    """Share of the operations' self time in an average iteration, by the names of GROUPS; the shares add up to 1."""
    on_gpu = torch.device(device).type == "cuda"
    totals = dict.fromkeys(GROUPS, 0.0)
    for phase in parts:
        phase.run()
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
        with profile(activities=activities, record_shapes=True) as recorded:
            phase.run()
            now(device)
        for event in recorded.events():
            if event.device_type == torch.autograd.DeviceType.CPU:
                own = event.self_device_time_total if on_gpu else event.self_cpu_time_total
                totals[_group(event)] += phase.share * own
    whole = sum(totals.values())
    return {group: own / whole for group, own in totals.items()}


def _group(event: Any) -> str:
    above = event
    while above is not None:
        if above.name.startswith(_OPTIMIZER_SCOPES):
            return "optimizer"
        above = above.cpu_parent
    name = event.name.lower()
    group = next((group for group, words in _WORDS if any(word in name for word in words)), "other")
    return "blur" if group == "convolution" and _is_depthwise(event.input_shapes) else group


def _is_depthwise(shapes: Sequence[Sequence[int]]) -> bool:
    """Whether one of an operation's first three inputs is a [C, 1, 3, 3] kernel beside C channels."""
    four_d = [tuple(shape) for shape in shapes[:3] if len(shape) == 4]
    kernels = [shape for shape in four_d if shape[1] == 1 and shape[2:] == (3, 3)]
    return any(other != kernel and other[1] == kernel[0] for kernel in kernels for other in four_d)
