"""Alarms and charts of translators, and the two measurements beside the losses that the alarms read.

The bounds are engineering heuristics (docs/munit.md, docs/nice_gan.md); users of both official codes report the failures.
"""

import math
from collections.abc import Iterator, Sequence
from functools import partial

from torch import Tensor

from alae_core import losses
from alae_core.alarms import Alarm, Window
from alae_core.algorithm import DOMAINS

SIGNS = ("moved", "contrast")
IGNORED = 0.75
"""Bound of the style's L1 error; predicting 0 for every style gives 0.8, the mean of |N(0, 1)|."""
WON = 1 / 30
"""Loss per output of a discriminator below which its generator learns nothing; an undecided discriminator has 0.5."""
SAME, GOOD = 1.1, 0.1
"""A translation is the identity if it moves images by less than 1.1 reconstruction errors, while these are below 0.1."""
BLANK = 0.05
"""Bound of the standard deviation of an image in [-1, 1]; a constant crop has less than 0.001."""


def _charts(back: str) -> dict[str, tuple[str, ...]]:
    return {
        "discriminators": tuple(f"discriminator/{term}_{domain}" for domain in DOMAINS for term in ("real", "fake")),
        "moved": tuple(f"generator/{term}_{domain}" for domain in DOMAINS for term in ("moved", back)),
    }


MUNIT_CHARTS = {**_charts("recon_x"), "styles": tuple(f"generator/recon_s_{domain}" for domain in DOMAINS)}
NICE_GAN_CHARTS = _charts("reconstruction")
"""Title of a chart -> the metrics drawn on its axes, such as the distances of translations and reconstructions."""


def signs(fakes: Tensor, sources: Tensor, domain: int) -> dict[str, Tensor]:
    """Distance from the source image, and contrast, of translations [n, C, H, W] into `domain`; [n] each, without gradient.

    The distance is the mean absolute difference, the contrast the standard deviation, of values in [-1, 1].
    """
    seen, name = fakes.detach(), DOMAINS[domain]
    return {f"moved_{name}": losses.mean_absolute(seen, sources), f"contrast_{name}": losses.deviation(seen)}


def munit_alarms(scales: int) -> tuple[Alarm, ...]:
    """Alarms of MUNIT, whose discriminators have one output per scale."""
    return tuple(
        alarm
        for domain in DOMAINS
        for alarm in (
            Alarm(
                name=f"style_ignored_{domain}",
                sentence=f"the style of domain {domain} is ignored, so all drawn styles give the same translation; raise "
                "algorithm.loss.recon_s_w or lower algorithm.loss.recon_x_cyc_w",
                reads=(f"generator/recon_s_{domain}",),
                rule=partial(_all_above, IGNORED),
                grace=0.2,
            ),
            *_of_both(domain, scales, "recon_x", "algorithm.loss.recon_x_w and algorithm.loss.recon_x_cyc_w"),
        )
    )


def nice_gan_alarms() -> tuple[Alarm, ...]:
    """Alarms of NICE-GAN, whose discriminators have three outputs."""
    weights = "algorithm.loss.recon_weight and algorithm.loss.cycle_weight"
    return tuple(alarm for domain in DOMAINS for alarm in _of_both(domain, 3, "reconstruction", weights))


def _of_both(domain: str, outputs: int, reconstruction: str, weights: str) -> Iterator[Alarm]:
    other = DOMAINS[1 - DOMAINS.index(domain)]
    yield Alarm(
        name=f"identity_map_{domain}",
        sentence=f"translations into domain {domain} are the images themselves; lower {weights}",
        reads=(f"generator/moved_{domain}", f"generator/{reconstruction}_{other}"),
        rule=_identical,
        grace=0.2,
    )
    yield Alarm(
        name=f"discriminator_won_{domain}",
        sentence=f"the discriminator of domain {domain} recognises every fake, so its generator learns nothing; lower "
        "schedule.lr, or give it more images",
        reads=(f"discriminator/real_{domain}", f"discriminator/fake_{domain}"),
        rule=partial(_sum_below, WON * outputs),
        grace=0.2,
    )
    yield Alarm(
        name=f"blank_{domain}",
        sentence=f"translations into domain {domain} are blank; go back to the best checkpoint and lower schedule.lr",
        reads=(f"generator/contrast_{domain}",),
        rule=lambda windows: next(iter(windows[-1].means.values())) < BLANK,
    )


def _last_two(windows: Sequence[Window]) -> list[list[float]]:
    """Means of the last two windows, in the order of the alarm's `reads`; empty if there are fewer than two."""
    return [list(window.means.values()) for window in windows[-2:]] if len(windows) > 1 else []


def _all_above(bound: float, windows: Sequence[Window]) -> bool:
    return min((min(means) for means in _last_two(windows)), default=-math.inf) > bound


def _sum_below(bound: float, windows: Sequence[Window]) -> bool:
    return max((sum(means) for means in _last_two(windows)), default=math.inf) < bound


def _identical(windows: Sequence[Window]) -> bool:
    found = _last_two(windows)
    return bool(found) and all(error < GOOD and moved < SAME * error for moved, error in found)
