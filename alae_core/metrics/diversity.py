"""Diversity of images: mean distance or similarity over pairs (BicycleGAN; MUNIT, section 5.2)."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from alae_core.metrics.estimate import Estimate, mean_estimate
from alae_core.noise import generator

Distance = Callable[[Tensor, Tensor], Tensor]
"""Function of two batches of images [n, C, H, W] that returns [n]: LPIPS for MUNIT, MS-SSIM for ProGAN and IntroVAE."""
PAIRS = 19
"""Pairs of outputs per input in BicycleGAN and MUNIT, which use 100 inputs."""


def random_pairs(count: int, pairs: int, seed: int, *names: int | str) -> Tensor:
    """Draw `pairs` different pairs of indices below `count`, int64 [pairs, 2], determined by `seed` and `names`.

    Raises ValueError if there are fewer pairs.
    """
    every = torch.combinations(torch.arange(count))
    if not 1 <= pairs <= len(every):
        raise ValueError(f"{count} images make {len(every)} pairs, pairs={pairs} cannot be drawn; make more images")
    return every[torch.randperm(len(every), generator=generator("cpu", seed, "pairs", *names))[:pairs]]


def disjoint_pairs(count: int, pairs: int, seed: int) -> Tensor:
    """Draw `pairs` pairs of indices below `count`, each index in at most one pair, int64 [pairs, 2], determined by `seed`.

    Distances of such pairs are independent. Raises ValueError if there are fewer pairs.
    """
    if not 1 <= pairs <= count // 2:
        raise ValueError(f"{count} images make {count // 2} pairs without sharing, pairs={pairs} cannot be drawn")
    return torch.randperm(count, generator=generator("cpu", seed, "disjoint pairs"))[: 2 * pairs].view(pairs, 2)


def diversity(outputs: Iterable[Tensor], distance: Distance, *, pairs: int = PAIRS, seed: int = 0) -> Estimate:
    """Mean distance between two outputs for one input, over random pairs of each input's outputs [S, C, H, W].

    Pairs of one input share outputs, so the standard error is that of the inputs' means. A deterministic model scores 0, a
    model that outputs noise scores high, so compare the score with `upper_reference` and with the images' quality.
    """
    # E_x E_(s, s') d(G(x, s), G(x, s'))
    means = []
    for number, images in enumerate(outputs):
        first, second = random_pairs(len(images), pairs, seed, number).unbind(1)
        means.append(distance(images[first], images[second]).double().mean())
    return mean_estimate(torch.stack(means) if means else torch.empty(0))


def upper_reference(
    real: Callable[[Tensor], Tensor], count: int, distance: Distance, *, pairs: int, seed: int = 0, batch_size: int = 50
) -> Estimate:
    """Mean distance between random real images, which outputs as diverse as the data would reach.

    `real` reads images by index, int64 [n] -> [n, C, H, W], out of `count`; no image is in two pairs.
    """
    parts = disjoint_pairs(count, pairs, seed).split(batch_size)
    return mean_estimate(torch.cat([distance(*map(real, part.unbind(1))).double().cpu() for part in parts]))
