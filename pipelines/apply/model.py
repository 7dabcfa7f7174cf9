"""A trained model as one object: images from noise, and images through its encoder."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from alae_core import images as conversion
from alae_core.algorithm import Sampling
from pipelines.evaluation import loading
from pipelines.evaluation.subject import Subject
from pipelines.experiment import Experiment
from pipelines.sources.decoding import Pixels


@dataclass(frozen=True)
class Model:
    """The averaged networks of a checkpoint at the level they were trained at, on the CPU."""

    experiment: Experiment
    subject: Subject
    nimg: int

    @classmethod
    def load(cls, place: str) -> "Model":
        """Load a checkpoint, the newest one of a run, or the data folder of a registered model.

        Raises ValueError if `place` is none of these, and RuntimeError if a file differs from its checksum.
        """
        _, experiment, subject, nimg = loading.load(place)
        return cls(experiment, subject, nimg)

    @property
    def resolution(self) -> int:
        """Side R of the images in pixels."""
        return self.subject.level.resolution

    @property
    def channels(self) -> int:
        """Channels C of the images: 1 or 3."""
        return self.subject.channels

    @torch.no_grad()
    def generate(self, n: int, *, seed: int = 0, psi: float = 1.0) -> Pixels:
        """Generate `n` images, uint8 [n, R, R, C]; the first images of a seed do not depend on `n`.

        `psi` truncates the styles (StyleGAN, appendix B); 1 is none. Raises ValueError for `n` below 1, for a translator, and
        for a `psi` that the algorithm does not support.
        """
        if n < 1:
            raise ValueError(f"n={n} images cannot be generated; use 1 or more")
        drawn = replace(self.subject, seed=seed).samples(n, Sampling(truncation=psi))
        return np.concatenate([conversion.to_uint8(part).numpy() for part in drawn])

    @torch.no_grad()
    def reconstruct(self, images: Pixels, *, domain: int = 0) -> Pixels:
        """Encode and decode `images`, uint8 [n, R, R, C] -> uint8 [n, R, R, C]; `domain` selects one of a translator's two.

        Raises ValueError for another shape or dtype, and for an algorithm without an encoder.
        """
        side, channels = self.resolution, self.channels
        if (
            images.dtype != np.uint8
            or images.ndim != 4
            or not len(images)
            or images.shape[1:] != (side, side, channels)
        ):
            raise ValueError(
                f"images of shape {list(images.shape)} and dtype {images.dtype} do not fit; this model takes uint8 "
                f"[n, {side}, {side}, {channels}] with n of 1 or more"
            )
        real = conversion.to_float(torch.from_numpy(np.ascontiguousarray(images)))
        made = self.subject.reconstruction(conversion.blend_with_coarser(real, self.subject.level.blend), domain)
        if made is None:
            raise ValueError(
                f"algorithm.kind={self.experiment.algorithm.kind} has no encoder, so it reconstructs nothing"
            )
        return conversion.to_uint8(made).numpy()
