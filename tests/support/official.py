"""Compares results with stored values of an official implementation in float64; see tests/core/official/README.md."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from alae_core import fused
from alae_core.algorithm import Batch
from alae_core.state import channels_last

FOLDER = Path(__file__).parents[1] / "core" / "official"
BOUND = 1e-12
"""Largest allowed difference, relative to the largest value of a tensor or to the largest gradient of a network."""
Form = Literal["eager", "compiled", "channels_last"]
FORMS: tuple[Form, ...] = ("eager", "compiled", "channels_last")


class OfficialValues:
    """Arrays of one file, for one form of computation; `finish` fails if one of them was never used."""

    def __init__(self, name: str, form: Form = "eager") -> None:
        with np.load(FOLDER / f"{name}.npz") as file:
            self._arrays = {key: file[key] for key in file.files}
        self._unused = set(self._arrays)
        self.form = form

    @contextmanager
    def compared(self) -> Iterator["OfficialValues"]:
        """Context that computes in this form and at its end checks that every array was used."""
        torch.set_default_dtype(torch.float64)
        try:
            with fused.enabled(self.form == "compiled"):
                yield self
        finally:
            torch.set_default_dtype(torch.float32)
        assert not self._unused, f"never compared: {sorted(self._unused)}"

    def __getitem__(self, key: str) -> Tensor:
        """Return an array as a tensor."""
        self._unused.discard(key)
        return torch.from_numpy(self._arrays[key])

    def config(self, *classes: type) -> Any:
        """Build the Config of the file from these classes; newer fields have their defaults."""
        self._unused.discard("config")
        return eval(str(self._arrays["config"]), {kind.__name__: kind for kind in classes})

    def images(self, key: str) -> Tensor:
        """Return stored pixels as images float64 [N, C, R, R] in [-1, 1]."""
        images = self[key].double() / 127.5 - 1.0
        return images.contiguous(memory_format=torch.channels_last) if self.form == "channels_last" else images

    def load(self, networks: Mapping[str, nn.Module]) -> None:
        """Copy the stored weights and buffers into the networks, all of them and no others."""
        for name, network in networks.items():
            stored = self._below(f"weight/{name}/")
            network.load_state_dict({key: self[f"weight/{name}/{key}"] for key in stored})
            if self.form == "channels_last":
                channels_last(network)

    def close(self, key: str, found: Tensor, scale: float | None = None) -> None:
        """Raises AssertionError unless `found` has the stored shape and values; `scale` replaces the largest stored value."""
        official = self[key]
        assert found.dtype == official.dtype and found.shape == official.shape, f"{key} is of another form"
        scale = float(official.abs().max()) if scale is None else scale
        off = float((found.detach() - official).abs().max()) / scale
        assert off <= BOUND, f"{key} differs by {off:.1e} of its scale ({self.form})"

    def close_gradients(
        self, prefix: str, loss: Tensor, networks: Mapping[str, nn.Module], unstored: tuple[str, ...] = ()
    ) -> None:
        """Compare d loss / d parameter for every parameter that has a gradient; the file has none with `unstored` endings."""
        for name, network in networks.items():
            named = dict(network.named_parameters())
            gradients = torch.autograd.grad(loss, list(named.values()), retain_graph=True, allow_unused=True)
            found = {
                key: gradient
                for key, gradient in zip(named, gradients, strict=True)
                if gradient is not None and not key.endswith(unstored)
            }
            stored = self._below(f"{prefix}/{name}/")
            assert found.keys() == set(stored), f"{prefix}/{name}: {sorted(found.keys() ^ set(stored))} in one of both"
            # Biases before a norm have a gradient of rounding errors alone: the scale is that of the network.
            scale = max(float(np.abs(self._arrays[f"{prefix}/{name}/{key}"]).max()) for key in stored)
            for key, gradient in found.items():
                self.close(f"{prefix}/{name}/{key}", gradient, scale)

    def names(self, prefix: str) -> list[str]:
        """Next path components of the keys that begin with `prefix/`."""
        return sorted({key.split("/")[0] for key in self._below(f"{prefix}/")})

    def _below(self, start: str) -> list[str]:
        return [key.removeprefix(start) for key in self._arrays if key.startswith(start)]


@dataclass(frozen=True, kw_only=True)
class StoredNoise(Batch):
    """A batch whose noise is stored, by name; an unknown name raises KeyError."""

    stored: Mapping[str, Tensor]

    def noise(self, name: str, *shape: int, shared: bool = False) -> Tensor:
        """Return the stored noise of this name, broadcast over the batch if all images share it."""
        return self.stored[name].expand(self.size, *shape)


def weighted_sum(algorithm: Any, name: str, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
    """Return the means of an update's terms, and their weighted sum, which the engine minimises."""
    update = next(update for update in algorithm.updates(batch.nimg) if update.name == name)
    terms = {term: values.mean() for term, values in update.loss(batch).items()}
    weights = update.weights_at(batch.level)
    return terms, torch.stack([weights.get(term, 1.0) * value for term, value in terms.items()]).sum()
