"""Alarms, charts and search spaces of the IntroVAE family.

The alarms detect failures that the codes, logs and users of IntroVAE and Soft-IntroVAE report (docs/introvae.md).
"""

import math
from collections.abc import Sequence
from functools import partial

from alae_core.alarms import Alarm, Window

REAL, RECONSTRUCTION, SAMPLE = "encoder/kl_real", "encoder/kl_reconstruction", "encoder/kl_sample"
MARGIN = "encoder/margin"
ACTIVE = ("encoder/active_reconstruction", "encoder/active_sample")
PUSHES = ("encoder/exp_reconstruction", "encoder/exp_sample")
ERROR = "encoder/reconstruction"

SOFT_CHARTS = {"KL": (REAL, RECONSTRUCTION, SAMPLE)}
HINGE_CHARTS = {"KL": (REAL, RECONSTRUCTION, SAMPLE, MARGIN)}
"""Title of a chart -> the metrics drawn on its axes."""

COLLAPSE_SHARE = 0.05
"""A real KL, in nats, below this share of the latent size is a posterior collapse."""
GAP_NATS = -1.0
"""Lower bound of sample KL - real KL; healthy windows stay above it, although single ticks may not."""
LOST_MARGINS = 4.0
"""The decoder has lost when the KL of fakes exceeds this many margins and rises."""
RISEN = 1.5
"""Ratio of the reconstruction error to its minimum, above which it counts as risen."""
IDLE = 0.01
"""A hinge is idle when it is active for less than this share of the groups of images."""
EARLY, EARLY_ACTIVE = 0.4, 0.1
"""In the first 0.4 of a level a healthy hinge is active for more than 0.1 of the reconstructions."""
SATURATED = 1e-8
"""Soft-IntroVAE's exponential terms below this no longer train the encoder."""
WEIGHTS = {64: (0.05, 2.0), 128: (0.05, 1.0), 256: (0.02, 1.0), 512: (0.005, 0.2), math.inf: (0.001, 0.05)}
"""Largest resolution in px -> range of IntroVAE's reconstruction weight to search; the error is a sum over pixels."""


def vae_alarms(latent: int, warmup_kimg: tuple[float, ...] = (0.0,)) -> tuple[Alarm, ...]:
    """Alarms of any VAE whose updates have terms with these names."""
    return (
        Alarm(
            name="posterior_collapse",
            sentence="real KL is below 5 % of the latent size, so codes hardly distinguish images; raise "
            "algorithm.loss.reconstruction_weight",
            reads=(REAL,),
            rule=partial(_collapsed, COLLAPSE_SHARE * latent),
            warmup_kimg=warmup_kimg,
        ),
        Alarm(
            name="reconstruction_rising",
            sentence="the reconstruction error stays more than 50 % above its best; raise "
            "algorithm.loss.reconstruction_weight or lower schedule.lr",
            reads=(ERROR,),
            rule=_rising,
            warmup_kimg=warmup_kimg,
        ),
    )


def soft_alarms(latent: int, warmup_kimg: tuple[float, ...]) -> tuple[Alarm, ...]:
    """Alarms of all forms of Soft-IntroVAE."""
    return (
        *vae_alarms(latent, warmup_kimg),
        _sample_kl_low("lower algorithm.loss.negative_weight, which then reaches further", warmup_kimg),
        Alarm(
            name="encoder_saturated",
            sentence="the encoder's exponential terms have vanished, so it learns nothing more from fakes; lower "
            "algorithm.loss.negative_weight, which then reaches further",
            reads=PUSHES,
            rule=lambda windows: _all_below(PUSHES, SATURATED, windows[-1]),
            warmup_kimg=warmup_kimg,
            stops=False,
        ),
    )


def hinge_alarms(latent: int, warmup_kimg: tuple[float, ...]) -> tuple[Alarm, ...]:
    """Alarms of IntroVAE, whose encoder raises the KL of fakes up to a margin."""
    return (
        *vae_alarms(latent, warmup_kimg),
        _sample_kl_low("raise algorithm.loss.negative_weight or algorithm.loss.margin_ratio", warmup_kimg),
        Alarm(
            name="real_kl_above_margin",
            sentence="the real KL is above the margin, so the encoder cannot separate real images from fakes; raise "
            "algorithm.loss.margin_ratio, or the margin if it is given, or lower algorithm.loss.reconstruction_weight",
            reads=(REAL, MARGIN),
            rule=lambda windows: windows[-1].means[REAL] > windows[-1].means[MARGIN],
            warmup_kimg=warmup_kimg,
        ),
        Alarm(
            name="reconstruction_kl_below_real",
            sentence="the KL of reconstructions is below the real KL, so the encoder has lost to the decoder; raise "
            "algorithm.loss.negative_weight or lower algorithm.loss.generator_weight",
            reads=(REAL, RECONSTRUCTION),
            rule=lambda windows: windows[-1].means[RECONSTRUCTION] < windows[-1].means[REAL],
            warmup_kimg=warmup_kimg,
            grace=0.2,
        ),
        Alarm(
            name="fake_kl_far_above_margin",
            sentence="the KL of fakes is above four margins and rises, so the decoder has lost to the encoder; raise "
            "algorithm.loss.generator_weight or lower algorithm.loss.negative_weight",
            reads=(RECONSTRUCTION, SAMPLE, MARGIN),
            rule=_drifting,
            warmup_kimg=warmup_kimg,
        ),
        Alarm(
            name="reconstruction_past_margin_early",
            sentence="the KL of reconstructions is above the margin in the first 40 % of the level, too early to look good; "
            "lower algorithm.loss.negative_weight or raise algorithm.loss.generator_weight",
            reads=ACTIVE[:1],
            rule=_past_margin_early,
            warmup_kimg=warmup_kimg,
            stops=False,
        ),
        Alarm(
            name="encoder_has_won",
            sentence="both hinges are idle, so the encoder learns nothing more from fakes; raise "
            "algorithm.loss.generator_weight",
            reads=ACTIVE,
            rule=lambda windows: len(windows) > 1 and all(_all_below(ACTIVE, IDLE, each) for each in windows[-2:]),
            warmup_kimg=warmup_kimg,
            stops=False,
        ),
    )


def hinge_space(resolution: int) -> tuple[str, ...]:
    """Search space of IntroVAE: its reconstruction weight, in a range for the resolution; the margin follows the weight."""
    low, high = next(bounds for size, bounds in WEIGHTS.items() if resolution <= size)
    return (f"algorithm.loss.reconstruction_weight=loguniform({low}, {high})",)


SOFT_SPACE = ("algorithm.loss.reconstruction_weight=loguniform(0.05, 1)",)
"""Search space of Soft-IntroVAE."""


def _sample_kl_low(way_out: str, warmup_kimg: tuple[float, ...]) -> Alarm:
    return Alarm(
        name="sample_kl_not_above_real",
        sentence=f"the KL of samples is not above the real KL, so samples no longer improve; {way_out}",
        reads=(REAL, SAMPLE),
        rule=lambda windows: windows[-1].means[SAMPLE] - windows[-1].means[REAL] < GAP_NATS,
        warmup_kimg=warmup_kimg,
        grace=0.2,
    )


def _collapsed(bound: float, windows: Sequence[Window]) -> bool:
    return windows[-1].means[REAL] < bound


def _rising(windows: Sequence[Window]) -> bool:
    """Whether the error was above `RISEN` times its minimum in the last two windows."""
    errors = [window.means[ERROR] for window in windows]
    return len(errors) > 2 and min(errors[-2:]) > RISEN * min(errors)


def _drifting(windows: Sequence[Window]) -> bool:
    if len(windows) < 2:
        return False
    before, now = (max(window.means[RECONSTRUCTION], window.means[SAMPLE]) for window in windows[-2:])
    return now > LOST_MARGINS * windows[-1].means[MARGIN] and now > before


def _past_margin_early(windows: Sequence[Window]) -> bool:
    return windows[-1].begins < EARLY and windows[-1].means[ACTIVE[0]] < EARLY_ACTIVE


def _all_below(names: Sequence[str], bound: float, window: Window) -> bool:
    return all(window.means[name] < bound for name in names)
