"""Precision and recall over k-nearest-neighbour manifolds (Kynkäänniemi et al. 2019, arXiv:1904.06991)."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from alae_core.metrics.estimate import Estimate, jackknife_error, share_estimate
from alae_core.metrics.neighbours import checked, distances_by_rows

NEIGHBOURS = 3
BLOCKS = 10


class PrecisionRecall(NamedTuple):
    """Shares in [0, 1] of generated images within the real manifold, and of real images within the generated one."""

    precision: Estimate
    recall: Estimate


def precision_recall(real: Tensor, generated: Tensor, *, neighbours: int = NEIGHBOURS) -> PrecisionRecall:
    """Precision and recall of features, float [m, D] and [n, D], with standard errors over the generated images.

    Precision is a share of independent images, so its error is binomial. The error of recall is from a jackknife that leaves
    out every tenth generated image, and tends to be too large. Distances are exact and computed in chunks, in
    2 D (m^2 + n^2 + 2 m n) operations. Both shares depend on the number of images, so compare only equal counts. Raises
    ValueError if a side has too few images.
    """
    # f(p, M) = 1 if ||p - q|| <= ||q - NN_k(q, M)|| for some q in M, else 0 (eq. 1)
    # precision = mean_g f(g, real), recall = mean_r f(r, generated) (eq. 2)
    real, generated = checked(real, generated)
    least = max(BLOCKS, 2 * neighbours + 2)
    if neighbours < 1 or len(real) <= neighbours or len(generated) < least:
        raise ValueError(
            f"{len(real)} real and {len(generated)} generated images are too few for balls to their neighbours={neighbours} "
            f"nearest fellows; give more than {max(neighbours, 1)} real and at least {least} generated images"
        )
    real_radii = _radii(_nearest_by_block(real, 1, neighbours))
    near = _nearest_by_block(generated, BLOCKS, neighbours)
    radii = [_radii(near)]
    for block in range(BLOCKS):
        without = _radii(near[torch.arange(BLOCKS) != block])
        without[block::BLOCKS] = -1.0
        radii.append(without)
    shares = _covered(real, generated, torch.stack(radii)).double().mean(1)
    recall = Estimate(float(shares[0]), jackknife_error(shares[1:]), len(generated))
    return PrecisionRecall(share_estimate(_covered(generated, real, real_radii.unsqueeze(0))[0]), recall)


def _nearest_by_block(members: Tensor, blocks: int, count: int) -> Tensor:
    """Squared distances from each of `members` [n, D] to its `count` nearest neighbours in each block: [blocks, n, count].

    Member i is in block i % blocks; missing neighbours have an infinite distance.
    """
    found = []
    for rows, squared in distances_by_rows(members, members):
        squared[torch.arange(len(squared)), torch.arange(rows.start, rows.stop)] = torch.inf
        parts = [F.pad(squared[:, block::blocks], (0, count), value=torch.inf) for block in range(blocks)]
        found.append(torch.stack([part.topk(count, largest=False).values for part in parts]))
    return torch.cat(found, 1)


def _radii(near: Tensor) -> Tensor:
    """Squared distance [n] to the k-th nearest neighbour, from the k nearest in each block [blocks, n, k]."""
    return near.transpose(0, 1).flatten(1).kthvalue(near.shape[2]).values


def _covered(points: Tensor, members: Tensor, radii: Tensor) -> Tensor:
    """Whether each of `points` [m, D] lies in a ball around one of `members` [n, D], for each row of radii [B, n]: [B, m]."""
    found = [
        torch.stack([(squared <= radius).any(1) for radius in radii])
        for _, squared in distances_by_rows(points, members)
    ]
    return torch.cat(found, 1)
