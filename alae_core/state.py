"""Everything that changes during training. A checkpoint loads completely or raises.

The data position is `nimg` itself (see order.py), and all noise is named by it, so no other state exists.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import nn
from torch.optim import Adam

from alae_core.algorithm import Algorithm
from alae_core.ema import averaged_copies
from alae_core.noise import named_seed
from alae_core.optim import AdamConfig, lazy_correction, load_moments, optimizer_name

SCHEMA = 1
_SCALARS = ("nimg", "iteration", "level_index")


@dataclass(kw_only=True)
class TrainState:
    """The algorithm's networks, their optimizers and EMA copies, and the counters."""

    algorithm: Algorithm
    optimizers: dict[str, Adam]
    ema: dict[str, nn.Module]
    nimg: int = 0
    iteration: int = 0
    level_index: int = 0
    """Level of the last iteration; Adam's moments are cleared when the next iteration's level differs."""
    seconds: float = field(default=0.0)
    """Time spent training, summed over restarts; a resumed run may differ in it."""

    @classmethod
    def build(
        cls,
        config: Any,
        seed: int,
        adam: AdamConfig,
        device: torch.device | str = "cpu",
        averages_from: Literal["networks", "other weights"] = "networks",
    ) -> "TrainState":
        """Create a new state on `device` with weights drawn from `seed`; the global generator neither matters nor changes.

        The EMA copies start equal to the networks, or with `averages_from` "other weights" from a second random
        initialisation, as in the official ALAE.
        """
        algorithm = _built(config, device, seed, "initial weights")
        start = algorithm if averages_from == "networks" else _built(config, device, seed, "initial averages")
        return cls(
            algorithm=algorithm,
            optimizers=_optimizers(algorithm, adam),
            ema=averaged_copies(start.networks, algorithm.averaged),
        )

    def state_dict(self) -> dict[str, Any]:
        """The state as tensors and plain values, which torch loads with `weights_only=True`."""
        return {
            "schema": SCHEMA,
            **{name: getattr(self, name) for name in _SCALARS},
            "seconds": self.seconds,
            "networks": {name: network.state_dict() for name, network in self.algorithm.networks.items()},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "ema": {name: network.state_dict() for name, network in self.ema.items()},
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore a saved state; raises ValueError with missing and unexpected keys or shapes before changing anything."""
        if saved.get("schema") != SCHEMA:
            raise ValueError(f"checkpoint schema {saved.get('schema')} is not {SCHEMA}; use the version that wrote it")
        own = self.state_dict()
        absent = sorted(own.keys() - saved.keys())
        if absent:
            raise ValueError(f"checkpoint does not fit this experiment: it lacks {absent}")
        _require_same_keys("optimizers", saved["optimizers"], own["optimizers"])
        _require_same_networks(saved, own)
        for name, network in self.algorithm.networks.items():
            network.load_state_dict(saved["networks"][name])
        for name, network in self.ema.items():
            network.load_state_dict(saved["ema"][name])
        for name, optimizer in self.optimizers.items():
            load_moments(optimizer, saved["optimizers"][name])
        for name in (*_SCALARS, "seconds"):
            setattr(self, name, saved[name])

    def load_networks(self, saved: dict[str, Any]) -> None:
        """Load only the networks and EMA copies of another run's state (`training.init_from`); raises ValueError likewise."""
        _require_same_networks(saved, self.state_dict())
        for part, networks in (("networks", self.algorithm.networks), ("ema", self.ema)):
            for name, network in networks.items():
                network.load_state_dict(saved[part][name])


def _built(config: Any, device: torch.device | str, *names: int | str) -> Algorithm:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(named_seed(*names))
        algorithm: Algorithm = config.build()
    for network in algorithm.networks.values():
        channels_last(network.to(device))
    return algorithm


def _optimizers(algorithm: Algorithm, adam: AdamConfig) -> dict[str, Adam]:
    """One optimizer per network, and one more for each set of moments that an update keeps for itself."""
    updates = algorithm.updates(0)
    owners = {optimizer_name(role, u.moments): role for u in updates for role in u.trains}
    owners = {role: role for role in algorithm.networks} | owners
    return {name: adam.build(algorithm.networks[role], lazy_correction(updates, name)) for name, role in owners.items()}


def _require_same_networks(saved: dict[str, Any], own: dict[str, Any]) -> None:
    for part in ("networks", "ema"):
        _require_same_keys(part, saved.get(part, {}), own[part])
        for name, tensors in own[part].items():
            _require_same_tensors(f"{part}.{name}", saved[part][name], tensors)


def channels_last(network: nn.Module) -> None:
    """Store 4-D weights channels last: twice as fast as the default on CPUs, and the layout tensor cores need."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _require_same_keys(where: str, saved: dict[str, Any], own: dict[str, Any]) -> None:
    missing, unexpected = sorted(own.keys() - saved.keys()), sorted(saved.keys() - own.keys())
    if missing or unexpected:
        raise ValueError(f"checkpoint does not fit this experiment: {where} missing {missing}, unexpected {unexpected}")


def _require_same_tensors(where: str, saved: dict[str, Any], own: dict[str, Any]) -> None:
    _require_same_keys(where, saved, own)
    for key, tensor in own.items():
        if saved[key].shape != tensor.shape:
            raise ValueError(
                f"checkpoint does not fit this experiment: {where}.{key} is {tuple(saved[key].shape)} in the checkpoint "
                f"and {tuple(tensor.shape)} here"
            )
