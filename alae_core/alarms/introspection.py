"""What is watched, drawn and searched of the IntroVAE family: alarms with their bounds, the chart of the KL, spaces.

The alarms are those of the failures that IntroVAE's and Soft-IntroVAE's codes, logs and users tell of; docs/introvae.md.
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
"""Title of a chart -> the metrics on its one pair of axes."""

COLLAPSE_SHARE = 0.05
"""Of the latent size, in nats: a real KL below it is a collapse of the posterior."""
GAP_NATS = -1.0
"""Sample KL less real KL: healthy windows have stayed above this, though single readings have not."""
LOST_MARGINS = 4.0
RISEN = 1.5
IDLE = 0.01
"""Share of the groups of images that a hinge pushes, below which it is idle."""
EARLY, EARLY_ACTIVE = 0.4, 0.1
"""In this first share of a level a healthy hinge pushes more than this share of the reconstructions."""
SATURATED = 1e-8
WEIGHTS = {64: (0.05, 2.0), 128: (0.05, 1.0), 256: (0.02, 1.0), 512: (0.005, 0.2), math.inf: (0.001, 0.05)}
"""Largest resolution in px -> reconstruction weights worth trying for IntroVAE: the error is a sum over pixels."""


def vae_alarms(latent: int, warmup_kimg: tuple[float, ...] = (0.0,)) -> tuple[Alarm, ...]:
    """Of any VAE whose updates have these terms' names."""
    return (
        Alarm(
            name="posterior_collapse",
            sentence="real KL is below 5 % of the latent size, so codes tell images hardly apart; raise "
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
    """Of Soft-IntroVAE, in every form."""
    return (
        *vae_alarms(latent, warmup_kimg),
        _sample_kl_low("lower algorithm.loss.negative_weight, which then reaches further", warmup_kimg),
        Alarm(
            name="encoder_saturated",
            sentence="the encoder's push on fakes has died out, so it learns nothing more from them; lower "
            "algorithm.loss.negative_weight, which then reaches further",
            reads=PUSHES,
            rule=lambda windows: _all_below(PUSHES, SATURATED, windows[-1]),
            warmup_kimg=warmup_kimg,
            stops=False,
        ),
    )


def hinge_alarms(latent: int, warmup_kimg: tuple[float, ...]) -> tuple[Alarm, ...]:
    """Of IntroVAE, whose encoder pushes fakes up to a margin."""
    return (
        *vae_alarms(latent, warmup_kimg),
        _sample_kl_low("raise algorithm.loss.negative_weight or algorithm.loss.margin_ratio", warmup_kimg),
        Alarm(
            name="real_kl_above_margin",
            sentence="real images lie beyond the margin, so the encoder cannot part them from fakes; raise "
            "algorithm.loss.margin_ratio, or the margin where it is given, or lower algorithm.loss.reconstruction_weight",
            reads=(REAL, MARGIN),
            rule=lambda windows: windows[-1].means[REAL] > windows[-1].means[MARGIN],
            warmup_kimg=warmup_kimg,
        ),
        Alarm(
            name="reconstruction_kl_below_real",
            sentence="the encoder takes reconstructions for more real than images, it has lost to the decoder; raise "
            "algorithm.loss.negative_weight or lower algorithm.loss.generator_weight",
            reads=(REAL, RECONSTRUCTION),
            rule=lambda windows: windows[-1].means[RECONSTRUCTION] < windows[-1].means[REAL],
            warmup_kimg=warmup_kimg,
            grace=0.2,
        ),
        Alarm(
            name="fake_kl_far_above_margin",
            sentence="fakes lie more than four margins out and drift on, the decoder has lost to the encoder; raise "
            "algorithm.loss.generator_weight or lower algorithm.loss.negative_weight",
            reads=(RECONSTRUCTION, SAMPLE, MARGIN),
            rule=_drifting,
            warmup_kimg=warmup_kimg,
        ),
        Alarm(
            name="reconstruction_past_margin_early",
            sentence="reconstructions lie beyond the margin in the first 40 % of the level, before they can look good; "
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
    """What a search over IntroVAE tries: its reconstruction weight, by the size of the images; the margin follows it."""
    low, high = next(bounds for size, bounds in WEIGHTS.items() if resolution <= size)
    return (f"algorithm.loss.reconstruction_weight=loguniform({low}, {high})",)


SOFT_SPACE = ("algorithm.loss.reconstruction_weight=loguniform(0.05, 1)",)
"""What a search over Soft-IntroVAE tries."""


def _sample_kl_low(way_out: str, warmup_kimg: tuple[float, ...]) -> Alarm:
    return Alarm(
        name="sample_kl_not_above_real",
        sentence=f"the encoder takes samples for as real as images, so they no longer improve; {way_out}",
        reads=(REAL, SAMPLE),
        rule=lambda windows: windows[-1].means[SAMPLE] - windows[-1].means[REAL] < GAP_NATS,
        warmup_kimg=warmup_kimg,
        grace=0.2,
    )


def _collapsed(bound: float, windows: Sequence[Window]) -> bool:
    return windows[-1].means[REAL] < bound


def _rising(windows: Sequence[Window]) -> bool:
    """For two windows in a row."""
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
