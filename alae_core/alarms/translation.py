"""What is watched of translators: two signs that are measured beside the losses, and the alarms that read them.

The bounds are engineering heuristics (docs/munit.md, docs/nice_gan.md); the failures are those that users of both codes report.
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
"""A drawn style that says nothing is coded with an error of 0.8, the mean of |N(0, 1)|."""
WON = 1 / 30
"""Loss of a discriminator, for each of its outputs, below which its generator learns nothing; 0.5 where it cannot tell."""
SAME, GOOD = 1.1, 0.1
"""A translation that moves an image by hardly more than a good reconstruction errs is the image itself."""
BLANK = 0.05
"""Standard deviation of an image in [-1, 1] that shows nothing; a constant crop has less than 0.001."""


def _charts(back: str) -> dict[str, tuple[str, ...]]:
    return {
        "discriminators": tuple(f"discriminator/{term}_{domain}" for domain in DOMAINS for term in ("real", "fake")),
        "moved": tuple(f"generator/{term}_{domain}" for domain in DOMAINS for term in ("moved", back)),
    }


MUNIT_CHARTS = {**_charts("recon_x"), "styles": tuple(f"generator/recon_s_{domain}" for domain in DOMAINS)}
NICE_GAN_CHARTS = _charts("reconstruction")
"""Title of a chart -> the metrics on its one pair of axes: how far translations move images, and how well images come back."""


def signs(fakes: Tensor, sources: Tensor, domain: int) -> dict[str, Tensor]:
    """Of translations [n, C, H, W] into `domain`, each [n] and without gradient: mean distance from the image that each comes
    of, and standard deviation of its values."""
    seen, name = fakes.detach(), DOMAINS[domain]
    return {f"moved_{name}": losses.mean_absolute(seen, sources), f"contrast_{name}": losses.deviation(seen)}


def munit_alarms(scales: int) -> tuple[Alarm, ...]:
    """Of MUNIT with so many outputs of a discriminator."""
    return tuple(
        alarm
        for domain in DOMAINS
        for alarm in (
            Alarm(
                name=f"style_ignored_{domain}",
                sentence=f"the style of domain {domain} is ignored, whatever is drawn its code is the same; raise "
                "algorithm.loss.recon_s_w or lower algorithm.loss.recon_x_cyc_w",
                reads=(f"generator/recon_s_{domain}",),
                rule=partial(_all_above, IGNORED),
                grace=0.2,
            ),
            *_of_both(domain, scales, "recon_x", "algorithm.loss.recon_x_w and algorithm.loss.recon_x_cyc_w"),
        )
    )


def nice_gan_alarms() -> tuple[Alarm, ...]:
    """Of NICE-GAN, whose discriminators have three outputs."""
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
        sentence=f"the discriminator of domain {domain} tells every fake, so its generator learns nothing; lower "
        "schedule.lr, or give it more images",
        reads=(f"discriminator/real_{domain}", f"discriminator/fake_{domain}"),
        rule=partial(_sum_below, WON * outputs),
        grace=0.2,
    )
    yield Alarm(
        name=f"blank_{domain}",
        sentence=f"translations into domain {domain} show nothing; go back to the best checkpoint and lower schedule.lr",
        reads=(f"generator/contrast_{domain}",),
        rule=lambda windows: next(iter(windows[-1].means.values())) < BLANK,
    )


def _last_two(windows: Sequence[Window]) -> list[list[float]]:
    """The means of the last two windows, in the order that they are read; none before there are two."""
    return [list(window.means.values()) for window in windows[-2:]] if len(windows) > 1 else []


def _all_above(bound: float, windows: Sequence[Window]) -> bool:
    return min((min(means) for means in _last_two(windows)), default=-math.inf) > bound


def _sum_below(bound: float, windows: Sequence[Window]) -> bool:
    return max((sum(means) for means in _last_two(windows)), default=math.inf) < bound


def _identical(windows: Sequence[Window]) -> bool:
    found = _last_two(windows)
    return bool(found) and all(error < GOOD and moved < SAME * error for moved, error in found)
