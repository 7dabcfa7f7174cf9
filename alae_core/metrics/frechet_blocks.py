"""Standard error of a Fréchet distance, from statistics kept in blocks, without computing or storing a feature twice."""

from collections.abc import Mapping

import torch
from torch import Tensor

from alae_core.metrics.estimate import Estimate, jackknife_error
from alae_core.metrics.frechet import FeatureStatistics, bias_notes, covariance_root, frechet_distance

BLOCKS = 10


class FeatureBlocks:
    """Feature statistics of generated images in B blocks, image i in block i % B; mergeable and independent of sharding."""

    def __init__(self, dimension: int, blocks: int = BLOCKS) -> None:
        if blocks < 2:
            raise ValueError(f"blocks={blocks} leave nothing to compare; take at least 2")
        self.blocks = [FeatureStatistics(dimension) for _ in range(blocks)]

    def update(self, features: Tensor, numbers: Tensor) -> None:
        """Add features, float [N, D], of the images with indices `numbers`, int64 [N].

        Raises ValueError if there is not one index per image, and as `FeatureStatistics.update`.
        """
        if numbers.shape != features.shape[:1]:
            raise ValueError(f"{len(features)} features came with {len(numbers)} image numbers; give one for each")
        for place, block in enumerate(self.blocks):
            block.update(features[(numbers % len(self.blocks) == place).to(features.device)])

    def merge(self, other: "FeatureBlocks") -> None:
        """Add the features of `other`; raises ValueError if the number of blocks or the dimension differs."""
        if len(other.blocks) != len(self.blocks):
            raise ValueError(f"statistics in {len(self.blocks)} and in {len(other.blocks)} blocks cannot be merged")
        for own, added in zip(self.blocks, other.blocks, strict=True):
            own.merge(added)

    @property
    def whole(self) -> FeatureStatistics:
        """Statistics of all images."""
        whole = FeatureStatistics(self.blocks[0].dimension)
        for block in self.blocks:
            whole.merge(block)
        return whole

    def state_dict(self) -> dict[str, Tensor]:
        """The whole state as tensors, which safetensors can store."""
        return {f"{place}.{key}": v for place, block in enumerate(self.blocks) for key, v in block.state_dict().items()}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> "FeatureBlocks":
        """Restore the result of `state_dict`; raises ValueError for other keys or shapes."""
        places: dict[int, dict[str, Tensor]] = {}
        for name, value in state.items():
            place, _, key = name.partition(".")
            places.setdefault(int(place), {})[key] = value
        restored = [FeatureStatistics.from_state_dict(places[place]) for place in sorted(places)]
        blocks = cls(restored[0].dimension, len(restored))
        blocks.blocks = restored
        return blocks


def frechet_estimate(real: FeatureStatistics, generated: FeatureBlocks) -> Estimate:
    """Estimate of `frechet_distance` with the standard error of a jackknife that leaves out one block at a time.

    The real images are fixed. The error does not include the bias that decreases with the number of images, which is common
    to all models measured with that number. Notes mark sides with fewer images than features. Raises as `frechet_distance`,
    and ValueError if a block is empty.
    """
    whole = generated.whole
    value = frechet_distance(real, whole)
    if not all(block.count for block in generated.blocks):
        raise ValueError(
            f"{whole.count} generated images are too few for {len(generated.blocks)} blocks; generate one for each at least"
        )
    covariance = real.covariance
    root, mean, trace = covariance_root(covariance), real.mean, float(covariance.trace())
    without = [_distance(root, mean, trace, whole.without(block)) for block in generated.blocks]
    return Estimate(value, jackknife_error(without), whole.count, bias_notes(real, whole))


def _distance(root: Tensor, mean: Tensor, trace: float, generated: FeatureStatistics) -> float:
    # Eigenvalues of R^T B R cost much less than a root and singular values; their relative error of 1e-8 is enough here.
    covariance = generated.covariance
    nuclear = torch.linalg.eigvalsh(root.T @ covariance @ root).clamp(min=0).sqrt().sum()
    return float((generated.mean - mean).square().sum() + covariance.trace() + trace - 2 * nuclear)
