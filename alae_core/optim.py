"""One Adam per network. Equalised learning rates and multipliers live in the layers (StyleGAN's runtime scaling)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Adam

from alae_core.algorithm import Update


@dataclass(frozen=True, kw_only=True)
class AdamConfig:
    """Adam as ProGAN, StyleGAN and ALAE use it: no first moment."""

    beta1: float = 0.0
    beta2: float = 0.99
    eps: float = 1e-8
    weight_decay: float = 0.0
    """Added to the gradient, times the weight, as in Adam's first form (MUNIT and NICE-GAN: 1e-4)."""

    def build(self, network: nn.Module, correction: float = 1.0) -> Adam:
        """An Adam over `network`; its learning rate is set by the level at every iteration. See `lazy_correction`."""
        betas = (self.beta1**correction, self.beta2**correction)
        # The fused kernel is one pass over each tensor, on CPUs too.
        decay = self.weight_decay
        return Adam(network.parameters(), lr=0.0, betas=betas, eps=self.eps, weight_decay=decay, fused=True)


def optimizer_name(role: str, moments: str) -> str:
    """The key of a network's Adam: its role, and the set of moments where an update has its own."""
    return f"{role}@{moments}" if moments else role


def lazy_correction(updates: Iterable[Update], name: str) -> float:
    """Share of the every-iteration steps among all steps of the Adam called `name`.

    Lazy updates add steps; rates times this and decay rates to its power keep the length of the memory and of the way
    per image (StyleGAN2, appendix B: k / (k + 1) for one update and one at every k-th iteration).
    """
    intervals = [u.every for u in updates if name in {optimizer_name(role, u.moments) for role in u.trains}]
    regular = intervals.count(1)
    return regular / sum(1 / every for every in intervals) if regular else 1.0


def set_lr(optimizer: Adam, lr: float) -> None:
    """Set the learning rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def load_moments(optimizer: Adam, saved: dict[str, Any]) -> None:
    """Restore an optimizer's state as copies, laid out in memory as its parameters.

    The fused kernel walks parameters and moments in memory order: it would pair the wrong elements of another layout.
    """
    optimizer.load_state_dict(saved)
    for parameter, moments in optimizer.state.items():
        for name, value in moments.items():
            moments[name] = (
                value.clone() if name == "step" else torch.empty_like(parameter, requires_grad=False).copy_(value)
            )


def clear_moments(optimizer: Adam) -> None:
    """Forget all moments and step counts, as at a change of level."""
    optimizer.state.clear()
