"""FLOPs of convolutions and matrix products, counted in torch's dispatcher; a multiply-add counts as two."""

from collections.abc import Callable, Sequence
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from benchmarks.step.cases import Phase


class _Counter(TorchDispatchMode):
    """torch's formulas without torch's FlopCounterMode, whose hooks on modules refuse gradients by the input."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=out)
        return out


def count(run: Callable[[], object]) -> int:
    """FLOPs of one call; first and second derivatives count, pointwise operations do not."""
    with _Counter() as counter:
        run()
    return counter.total


def count_iteration(phases: Sequence[Phase]) -> float:
    """FLOPs of an iteration, averaged over a run."""
    return sum(phase.share * count(phase.run) for phase in phases)
