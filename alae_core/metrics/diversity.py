"""How different images are from each other: mean distance or similarity over pairs (BicycleGAN; MUNIT, section 5.2)."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from alae_core.metrics.estimate import Estimate, mean_estimate
from alae_core.noise import generator

Distance = Callable[[Tensor, Tensor], Tensor]
"""Two batches of images [n, C, H, W] -> [n]: LPIPS for MUNIT, MS-SSIM for ProGAN and IntroVAE."""
PAIRS = 19
"""Of outputs for each input, in BicycleGAN and MUNIT, which take 100 inputs."""


def random_pairs(count: int, pairs: int, seed: int, *names: int | str) -> Tensor:
    """`pairs` different pairs of two of `count` things, int64 [pairs, 2], named by the seed.

    Raises ValueError where there are not so many.
    """
    every = torch.combinations(torch.arange(count))
    if not 1 <= pairs <= len(every):
        raise ValueError(f"{count} images make {len(every)} pairs, pairs={pairs} cannot be drawn; make more images")
    return every[torch.randperm(len(every), generator=generator("cpu", seed, "pairs", *names))[:pairs]]


def disjoint_pairs(count: int, pairs: int, seed: int) -> Tensor:
    """`pairs` pairs of `count` things, each thing in one pair at most, int64 [pairs, 2], named by the seed.

    Distances over them are independent. Raises ValueError where there are not so many.
    """
    if not 1 <= pairs <= count // 2:
        raise ValueError(f"{count} images make {count // 2} pairs without sharing, pairs={pairs} cannot be drawn")
    return torch.randperm(count, generator=generator("cpu", seed, "disjoint pairs"))[: 2 * pairs].view(pairs, 2)


def diversity(outputs: Iterable[Tensor], distance: Distance, *, pairs: int = PAIRS, seed: int = 0) -> Estimate:
    """Mean distance between two outputs for one input, over random pairs of each input's outputs [S, C, H, W].

    Pairs of one input share outputs, so the error is taken over the inputs' means. A deterministic model gives 0; one that
    makes noise scores high, so put it beside the quality and `upper_reference`.
    """
    means = []
    for number, images in enumerate(outputs):
        first, second = random_pairs(len(images), pairs, seed, number).unbind(1)
        means.append(distance(images[first], images[second]).double().mean())
    return mean_estimate(torch.stack(means) if means else torch.empty(0))


def upper_reference(
    real: Callable[[Tensor], Tensor], count: int, distance: Distance, *, pairs: int, seed: int = 0, batch_size: int = 50
) -> Estimate:
    """Mean distance between random real images: what outputs as diverse as the data would reach.

    `real` reads images by their numbers, int64 [n] -> [n, C, H, W], of `count`; no image is in two pairs.
    """
    parts = disjoint_pairs(count, pairs, seed).split(batch_size)
    return mean_estimate(torch.cat([distance(*map(real, part.unbind(1))).double().cpu() for part in parts]))
