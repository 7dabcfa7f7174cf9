"""Base of translators between two domains, MUNIT and NICE-GAN; a domain is 0 or 1."""

from collections.abc import Mapping

from torch import Tensor

from alae_core.algorithm import DOMAINS, Batch, Networks


class Translator:
    """Base class for two image streams without common batch statistics."""

    domains = 2
    together = 1
    observed: tuple[str, ...] = ()
    step: int
    """Sides of images to translate must be multiples of it, and at least twice as large."""
    side: int | None = None
    """The only allowed height and width; None: any."""

    def mix(self, networks: Networks, sources: Batch, destinations: Batch) -> Tensor | None:
        """None, because there are no coarse and fine styles."""
        return None


def check_domain(to: int) -> None:
    """Raise ValueError for an unknown domain."""
    if to not in (0, 1):
        raise ValueError(f"to={to} is no domain; give 0 or 1")


def check_sides(images: Tensor, step: int) -> None:
    """Raise ValueError for images [n, C, H, W] whose sides are not multiples of `step` or are below twice `step`."""
    height, width = images.shape[2:]
    if height % step or width % step or min(height, width) < 2 * step:
        raise ValueError(
            f"images of {height}x{width} px cannot be coded; give sides that are multiples of {step}, {2 * step} or more"
        )


def of_both_domains(weights: Mapping[str, float]) -> dict[str, float]:
    """Weights of the terms of both domains, from weights by names without a domain."""
    return {f"{name}_{domain}": weight for domain in DOMAINS for name, weight in weights.items()}
