"""Base of the plain iterations of MUNIT and NICE-GAN, for comparisons of speed.

Both have two steps, each with one Adam over all its networks; optimizers and averages loop over the parameters.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam
from torch.profiler import record_function

from alae_core.optim import AdamConfig
from benchmarks.step.reference import HALF_LIFE_KIMG, OPTIMIZER_SCOPE

Draw = Callable[[str, str], Tensor]
"""Function of the names of the update and of the noise that returns standard normal noise [N, D]."""


@dataclass(kw_only=True)
class TranslatorReference:
    """Networks with the names of our form, averages and optimizers; a method implements `steps`."""

    networks: dict[str, Any]
    averages: dict[str, nn.Module]
    config: Any
    """The method's Config."""
    lr: float
    adam: AdamConfig
    draws: torch.Generator
    optimizers: dict[str, Adam] = field(init=False)
    """Optimizers of the "discriminator" and the "generator" step."""

    def __post_init__(self) -> None:
        options: dict[str, Any] = {
            "lr": self.lr,
            "betas": (self.adam.beta1, self.adam.beta2),
            "eps": self.adam.eps,
            "weight_decay": self.adam.weight_decay,
            "foreach": False,
            "fused": False,
        }
        judges = {role for role in self.networks if self.judges(role)}
        groups = {"discriminator": judges, "generator": self.networks.keys() - judges}
        self.optimizers = {
            name: Adam([p for role, net in self.networks.items() if role in roles for p in net.parameters()], **options)
            for name, roles in groups.items()
        }

    def judges(self, role: str) -> bool:
        """Whether the discriminator step trains the network."""
        raise NotImplementedError

    def steps(self, real: tuple[Tensor, ...], draw: Draw) -> dict[str, Tensor]:
        """Run both steps on images of domains a and b, each [N, C, R, R] in [-1, 1]; returns their losses."""
        raise NotImplementedError

    def train_iteration(self, pixels: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Run both steps on uint8 pixels of domains a and b, each [N, C, R, R], and update the averages; returns the losses."""
        real = tuple(domain.to(torch.float32) / 127.5 - 1.0 for domain in pixels)

        def draw(update: str, name: str) -> Tensor:
            return torch.randn(len(real[0]), self.config.latent, generator=self.draws, device=self.draws.device)

        losses = self.steps(real, draw)
        self._average(len(real[0]))
        return losses

    def _step(self, name: str, loss: Tensor) -> Tensor:
        """Step one optimizer. As in the official code nothing is frozen, and the next step drops unused gradients."""
        self.optimizers[name].zero_grad()
        loss.backward()
        with record_function(OPTIMIZER_SCOPE):
            self.optimizers[name].step()
        return loss.detach()

    @torch.no_grad()
    def _average(self, count: int) -> None:
        share = 1.0 - 0.5 ** (count / (1000.0 * HALF_LIFE_KIMG))
        with record_function(OPTIMIZER_SCOPE):
            for name, average in self.averages.items():
                for target, source in zip(average.parameters(), self.networks[name].parameters(), strict=True):
                    target.lerp_(source, share)


def tensors(ours: Mapping[str, nn.Module], theirs: Mapping[str, nn.Module]) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs of each parameter and buffer of the reference with its counterpart in our networks, each once."""
    for role, network in theirs.items():
        kept = ours[role].state_dict().keys()
        found = [*network.parameters(), *network.buffers()]
        named = [*ours[role].named_parameters(), *ours[role].named_buffers()]
        pairs = zip(found, (tensor for name, tensor in named if name in kept), strict=True)
        yield from ((other, own.view_as(other)) for other, own in pairs)


def reference_of(
    fresh: Callable[[Any], dict[str, nn.Module]], config: Any, ours: Mapping[str, nn.Module]
) -> dict[str, nn.Module]:
    """Networks of the reference with the weights of ours, on the same device, in the same precision, contiguous."""
    own = next(next(iter(ours.values())).parameters())
    with torch.random.fork_rng(devices=[]):
        theirs = fresh(config)
    networks = {name: network.to(own.device, own.dtype) for name, network in theirs.items()}
    with torch.no_grad():
        for other, value in tensors(ours, networks):
            other.copy_(value)
    return networks
