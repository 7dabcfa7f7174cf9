"""An untrained algorithm with known codes."""

from typing import Any

from torch import Tensor


class Coded:
    """Algorithm of the networks "mapping" and "generator" with codes [n, latent] and without noise."""

    domains = 1
    networks: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, latent: int) -> None:
        self.latent = latent

    def mapped(self, networks: Any, z: Tensor) -> Tensor:
        made: Tensor = networks["mapping"](z) if "mapping" in networks else z
        return made

    def decode(self, networks: Any, codes: Tensor, batch: Any, sampling: Any = None) -> Tensor:
        made: Tensor = networks["generator"](codes)
        return made
