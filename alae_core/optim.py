"""One Adam per network. Equalised learning rates and multipliers live in the layers (StyleGAN's runtime scaling)."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Adam


@dataclass(frozen=True, kw_only=True)
class AdamConfig:
    """Adam as ProGAN, StyleGAN and ALAE use it: no first moment."""

    beta1: float = 0.0
    beta2: float = 0.99
    eps: float = 1e-8

    def build(self, network: nn.Module) -> Adam:
        """An Adam over `network`; its learning rate is set by the level at every iteration."""
        # The fused kernel is one pass over each tensor, on CPUs too.
        return Adam(network.parameters(), lr=0.0, betas=(self.beta1, self.beta2), eps=self.eps, fused=True)


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
