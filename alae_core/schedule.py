"""Progressive growing as a pure function of the images seen (ProGAN, section 2).

As in ALAE, a level first fades in and then stabilises.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Level:
    """Resolution, fade-in, batch and learning rate of one iteration; computed from nimg and never stored.

    `blend` is in (0, 1]; 1 uses the newest layer only. `batch_size` is the global batch.
    """

    index: int
    resolution: int
    blend: float
    batch_size: int
    lr: float
    seen: int = 0
    """Images trained on at this level before this batch."""

    @property
    def depth(self) -> int:
        """Number of doublings from 4x4, which is the index of a growing network's newest block; independent of `index`."""
        return self.resolution.bit_length() - 3


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Images [start, stop) of the stream that one level trains on; a multiple of the batch size."""

    level: int
    start: int
    stop: int
    batch_size: int


@dataclass(frozen=True, kw_only=True)
class ProgressiveSchedule:
    """Resolution, length, global batch and learning rate of each level.

    A tuple shorter than `resolutions` repeats its last entry. Level 0 has no fade-in. The length of a level is rounded up
    to whole batches, so every level starts with a new batch. Raises ValueError for values that contradict each other.
    """

    resolutions: tuple[int, ...]
    """Side of the images at each level in pixels, each twice the one before; one entry trains without growing."""
    stable_kimg: tuple[float, ...]
    """Thousands of images at each level after its fade."""
    fade_kimg: tuple[float, ...] = (0.0,)
    """Thousands of images over which the new layers of a level are blended in."""
    batch_size: tuple[int, ...] = (32,)
    """Images of one iteration over all ranks, by level."""
    lr: tuple[float, ...] = (0.0015,)
    """Learning rate by level."""
    fade: Literal["cosine", "linear"] = "cosine"
    """Shape of the blend from 0 to 1 over fade_kimg."""
    clear_moments: Literal["level", "phase"] = "level"
    """When Adam's moments are cleared: at each new level (ALAE), or also at the end of its fade-in (StyleGAN)."""
    lr_falls_from_kimg: float | None = None
    """Start of a linear decay of the learning rates to 0 at the end of the run (NICE-GAN); null: no decay."""
    lr_halves_every_kimg: float | None = None
    """Interval after which the learning rates are halved, again and again (MUNIT); null: never."""

    def __post_init__(self) -> None:
        if not self.resolutions:
            raise ValueError("schedule.resolutions is empty; give at least one, such as (32,)")
        for coarse, fine in zip(self.resolutions, self.resolutions[1:], strict=False):
            if fine != 2 * coarse:
                raise ValueError(f"schedule.resolutions={self.resolutions}: each level must double the one before it")
        for name in ("stable_kimg", "fade_kimg", "batch_size", "lr"):
            values = getattr(self, name)
            if not values or len(values) > len(self.resolutions):
                raise ValueError(
                    f"schedule.{name} has {len(values)} entries for {len(self.resolutions)} levels; give 1 to that many"
                )
            if min(values) < 0 or (name in ("batch_size", "lr") and min(values) <= 0):
                raise ValueError(f"schedule.{name}={values} holds a value that is too small")
        for index in range(len(self.resolutions)):
            if at_level(self.stable_kimg, index) + self._fade_nimg(index) <= 0:
                raise ValueError(f"schedule.stable_kimg: level {index} trains on no image; give it more than 0 kimg")
        falls, halves, total = self.lr_falls_from_kimg, self.lr_halves_every_kimg, self.total_nimg / 1000
        if falls is not None and not 0 <= falls < total:
            raise ValueError(
                f"schedule.lr_falls_from_kimg={falls:g} must be at least 0 and below the run's {total:g} kimg"
            )
        if halves is not None and halves <= 0:
            raise ValueError(f"schedule.lr_halves_every_kimg={halves:g} must be above 0")

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """Ranges of the image stream, one per level, in order."""
        found: list[Segment] = []
        start = 0
        for index in range(len(self.resolutions)):
            batch = at_level(self.batch_size, index)
            length = round(1000 * at_level(self.stable_kimg, index)) + self._fade_nimg(index)
            stop = start + max(1, math.ceil(length / batch)) * batch
            found.append(Segment(level=index, start=start, stop=stop, batch_size=batch))
            start = stop
        return tuple(found)

    @property
    def total_nimg(self) -> int:
        """Images of the whole run."""
        return self.segments[-1].stop

    def level_at(self, nimg: int) -> Level:
        """Level of the batch that starts at image `nimg`; after the end of the run, the last level."""
        segment = next((s for s in self.segments if nimg < s.stop), self.segments[-1])
        return Level(
            index=segment.level,
            resolution=self.resolutions[segment.level],
            blend=self._blend(segment, nimg),
            batch_size=segment.batch_size,
            lr=at_level(self.lr, segment.level) * self._lr_share(nimg),
            seen=nimg - segment.start,
        )

    def level_before(self, nimg: int) -> Level:
        """Level of the batch that ended at image `nimg` > 0."""
        segment = next((s for s in self.segments if nimg <= s.stop), self.segments[-1])
        return self.level_at(min(nimg, segment.stop) - segment.batch_size)

    def clears_moments_at(self, nimg: int) -> bool:
        """Whether Adam's moments are cleared before the batch that starts at image `nimg` > 0."""
        before, now = self.level_before(nimg), self.level_at(nimg)
        faded = before.blend < 1.0 and now.blend == 1.0
        return before.index != now.index or (self.clear_moments == "phase" and faded)

    def _lr_share(self, nimg: int) -> float:
        """Factor of the learning rates at image `nimg`; it depends on `nimg` only, so a resume cannot apply it twice."""
        share = 1.0
        if self.lr_falls_from_kimg is not None:
            start, total = 1000 * self.lr_falls_from_kimg, self.total_nimg
            share *= max(0.0, min(1.0, (total - nimg) / (total - start)))
        if self.lr_halves_every_kimg is not None:
            share *= 0.5 ** (nimg // round(1000 * self.lr_halves_every_kimg))
        return share

    def _fade_nimg(self, index: int) -> int:
        return 0 if index == 0 else round(1000 * at_level(self.fade_kimg, index))

    def _blend(self, segment: Segment, nimg: int) -> float:
        fade = self._fade_nimg(segment.level)
        # Counted at the end of the batch, because a blend of exactly 0 would give the new layers no gradient.
        seen = nimg - segment.start + segment.batch_size
        if seen >= fade:
            return 1.0
        t = seen / fade
        return t if self.fade == "linear" else 0.5 * (1.0 - math.cos(math.pi * t))


def at_level(values: tuple[T, ...], index: int) -> T:
    """Entry of a level in a tuple; a tuple that is too short repeats its last entry."""
    return values[min(index, len(values) - 1)]
