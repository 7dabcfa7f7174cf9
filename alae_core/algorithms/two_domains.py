"""What translators between two domains share, MUNIT and NICE-GAN; a domain is 0 or 1."""

from collections.abc import Mapping

from torch import Tensor

from alae_core.algorithm import DOMAINS, Batch, Networks


class Translator:
    """Of two image streams; images do not see each other."""

    domains = 2
    together = 1
    observed: tuple[str, ...] = ()
    step: int
    """The sides of an image that can be translated are multiples of it, and at least twice that."""
    side: int | None = None
    """The one side that both may have; None: any."""

    def mix(self, networks: Networks, sources: Batch, destinations: Batch) -> Tensor | None:
        """None: there are no coarse styles to take."""
        return None


def check_domain(to: int) -> None:
    """Raise ValueError for an unknown domain."""
    if to not in (0, 1):
        raise ValueError(f"to={to} is no domain; give 0 or 1")


def check_sides(images: Tensor, step: int) -> None:
    """Raise ValueError for images [n, C, H, W] whose sides are no multiples of `step`, or below twice that."""
    height, width = images.shape[2:]
    if height % step or width % step or min(height, width) < 2 * step:
        raise ValueError(
            f"images of {height}x{width} px cannot be coded; give sides that are multiples of {step}, {2 * step} or more"
        )


def of_both_domains(weights: Mapping[str, float]) -> dict[str, float]:
    """The weights of terms, by their names in each domain."""
    return {f"{name}_{domain}": weight for domain in DOMAINS for name, weight in weights.items()}
