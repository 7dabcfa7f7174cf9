"""Two styles of the same emoji as two unpaired domains, with the pairs of a held-out tenth for the scores."""

import io
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from alae_core import images
from alae_core.metrics.estimate import Estimate
from alae_core.metrics.kernel import kernel_distance_of_subsets
from pipelines.evaluation.features.pretrained import lite0

Pixels = NDArray[np.uint8]
HELD_OUT = 0.1
SUBSETS, SUBSET_SIZE = 100, 100
AT_ONCE = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class PairedEmoji:
    """Images, uint8 [N, 64, 64, 3], of each domain, in the order of their common names; the last tenth is held out."""

    domains: tuple[Pixels, Pixels]

    @property
    def held(self) -> int:
        """Number of held-out pairs."""
        return round(HELD_OUT * len(self.domains[0]))

    @property
    def train(self) -> tuple[Pixels, Pixels]:
        first, second = (domain[: -self.held] for domain in self.domains)
        return first, second

    @property
    def test(self) -> tuple[Pixels, Pixels]:
        first, second = (domain[-self.held :] for domain in self.domains)
        return first, second

    @cached_property
    def test_features(self) -> tuple[Tensor, ...]:
        """Lite0's features of the held-out images, by domain."""
        return tuple(features(domain) for domain in self.test)


def read(first: Path, second: Path) -> PairedEmoji:
    """Read the images that both zips contain, shuffled once, on white; ValueError if they have none in common."""
    opened = [dict(_images(path)) for path in (first, second)]
    names = np.array(sorted(opened[0].keys() & opened[1].keys()))
    if not len(names):
        raise ValueError(
            f"--data: {first} and {second} have no image of the same name; give two styles of the same images"
        )
    names = np.random.default_rng(0).permutation(names)
    a, b = (np.stack([domain[name] for name in names]) for domain in opened)
    return PairedEmoji(domains=(a, b))


def features(pixels: Pixels) -> Tensor:
    """Lite0's features, float32 [N, 1280], of images uint8 [N, R, R, 3]."""
    return torch.cat([lite0()(torch.from_numpy(part)) for part in np.array_split(pixels, -(-len(pixels) // AT_ONCE))])


def kernel_distance(real: Tensor, found: Tensor) -> Estimate:
    """Unbiased kernel distance of Lite0's features over random subsets, times 1000."""
    return kernel_distance_of_subsets(real, found, subsets=SUBSETS, subset_size=SUBSET_SIZE)


def translated(pixels: Pixels, translate: Callable[[Tensor], Tensor]) -> Pixels:
    """Apply a function to images, uint8 [N, R, R, 3], in small batches; the result has the same shape and dtype."""
    parts = np.array_split(pixels, -(-len(pixels) // AT_ONCE))
    return np.concatenate(
        [images.to_uint8(translate(images.to_float(torch.from_numpy(part)))).numpy() for part in parts]
    )


def _images(path: Path) -> Iterator[tuple[str, Pixels]]:
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith(".png"):
                drawn = Image.open(io.BytesIO(archive.read(name))).convert("RGBA")
                yield (
                    name,
                    np.asarray(Image.alpha_composite(Image.new("RGBA", drawn.size, "white"), drawn).convert("RGB")),
                )
