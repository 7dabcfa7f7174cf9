"""One Adam optimizer per network. Equalised learning rates and multipliers are in the layers (StyleGAN's runtime scaling)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Adam

from alae_core.algorithm import Update


@dataclass(frozen=True, kw_only=True)
class AdamConfig:
    """Settings of Adam; the defaults are those of ProGAN, StyleGAN and ALAE, without a first moment."""

    beta1: float = 0.0
    """Decay of the first moment per step; 0 keeps no momentum."""
    beta2: float = 0.99
    """Decay of the second moment per step."""
    eps: float = 1e-8
    """Added to the root of the second moment, against division by zero."""
    weight_decay: float = 0.0
    """Factor of the weights that is added to their gradients, as L2 regularisation (MUNIT and NICE-GAN: 1e-4)."""

    def build(self, network: nn.Module, correction: float = 1.0) -> Adam:
        """Adam over `network`, with decay rates to the power `correction` (see `lazy_correction`).

        Its learning rate starts at 0; the engine sets it at every iteration from the level.
        """
        betas = (self.beta1**correction, self.beta2**correction)
        # The fused kernel is one pass over each tensor, on CPUs too.
        decay = self.weight_decay
        return Adam(network.parameters(), lr=0.0, betas=betas, eps=self.eps, weight_decay=decay, fused=True)


def optimizer_name(role: str, moments: str) -> str:
    """Key of a network's optimizer: the network's role, and the name of the update's own set of moments if it has one."""
    return f"{role}@{moments}" if moments else role


def lazy_correction(updates: Iterable[Update], name: str) -> float:
    """Share of the updates that run at every iteration among all steps of the optimizer `name`.

    Lazy updates add steps. Multiplying the learning rate by this share, and raising the decay rates to its power, keeps the
    step length and the memory per image (StyleGAN2, appendix B: k / (k + 1) for one update and one every k iterations).
    """
    intervals = [u.every for u in updates if name in {optimizer_name(role, u.moments) for role in u.trains}]
    regular = intervals.count(1)
    return regular / sum(1 / every for every in intervals) if regular else 1.0


def set_lr(optimizer: Adam, lr: float) -> None:
    """Set the learning rate of all parameter groups."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def load_moments(optimizer: Adam, saved: dict[str, Any]) -> None:
    """Load an optimizer's state as copies in the memory layout of its parameters.

    The fused kernel reads parameters and moments in memory order, so another layout would pair the wrong elements.
    """
    optimizer.load_state_dict(saved)
    for parameter, moments in optimizer.state.items():
        for name, value in moments.items():
            moments[name] = (
                value.clone() if name == "step" else torch.empty_like(parameter, requires_grad=False).copy_(value)
            )


def clear_moments(optimizer: Adam) -> None:
    """Delete all moments and step counts, as at a change of level."""
    optimizer.state.clear()
