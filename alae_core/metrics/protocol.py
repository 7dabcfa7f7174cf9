"""How a number was measured, and the name that says so: `fid50k_full`, `kid10k_x1000`, `ppl_wend`, `fd_lite0_5k_mixed0.9`.

A name is the metric, its extractor where that is not the field's own, the number of images, and whatever is unusual in how
they are made. FID and KID are for Inception's features only; over others the distances are called fd and kd. What is taken
of translations names the domain that they are in, as `kd_lite0_0.3k_x100_validation_to_b`.
"""

import re
from dataclasses import asdict, dataclass
from typing import Any, Literal

from alae_core.metrics.path_length import Crop
from alae_core.metrics.table import METRICS, Kind, Metric, having

_OWN = ("subsets", "subset_size", "neighbours", "each", "space", "path")


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How a number is measured; two numbers compare if their protocols are equal. Raises ValueError on a contradiction."""

    metric: str
    images: int
    """Generated images; of ppl paths, of msssim pairs, of reconstructions and translations the real images they are made of.

    Of probes the real images of the train split that they learn from; all of `split` score them.
    """
    extractor: str = ""
    """What features come from: inception, vgg16, alexnet, lite0, classifier, pixels, or "" where none are taken."""
    full: bool = False
    """Compare with every image of the split, not with as many as are generated."""
    split: Literal["train", "validation", "test"] = "train"
    of: Kind = "samples"
    to: Literal["a", "b"] | None = None
    """Of translations: the domain that they are in; they are made of the other one's `split` and compared with this one's."""
    paired: bool = False
    """Each translation is compared with the image of the same id in its domain."""
    subsets: int | None = None
    """Of kid and kd: over how many random subsets the mean goes; 0 for one estimate from all pairs."""
    subset_size: int | None = None
    neighbours: int | None = None
    """Of pr: the k of its balls."""
    each: int | None = None
    """Of cis: outputs for each input; of diversity: pairs of them."""
    space: Literal["z", "w"] | None = None
    """Of ppl and ls: where codes are taken."""
    path: Literal["full", "end"] | None = None
    long: bool = False
    """Of probes: take the encoder's last hidden layer for the code."""
    crop: Crop = "none"
    """What ppl compares of each image; see `path_length.comparable`."""
    truncation: float = 1.0
    """Psi; 1 for none."""
    mixing: float = 0.0
    """Chance that an image's styles are mixed."""
    rounding: Literal["nearest", "official"] = "nearest"
    """How images become bytes; see `images.to_uint8_floored`."""
    resize: Literal["extractor", "clean"] = "extractor"
    """The extractor's own filter, or an antialiased bicubic one (Parmar et al. 2022)."""
    mirrored: bool = False
    """Real images are mirrored by chance."""

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise ValueError(f"metric={self.metric} is none of {', '.join(METRICS)}")
        metric = self.row
        own = tuple(name for name in _OWN if getattr(self, name) is not None)
        rules = {
            f"{self.metric} needs {_listed(metric.needs)}, it has {_listed(own)}": own == metric.needs,
            f"extractor={self.extractor!r} must be lower-case letters and digits, a letter first": (
                re.fullmatch("([a-z][a-z0-9]*)?", self.extractor) is not None
            ),
            f"{self.metric} is for {metric.extractor}'s features; over {self.extractor} it is {metric.called.get('')}": (
                "" not in metric.called or self.extractor == metric.extractor
            ),
            f"{self.metric} needs {metric.unnamed}": not metric.unnamed or self.extractor not in ("", *metric.called),
            f"{self.metric} compares with the whole split, whose statistics are kept; set full": (
                self.full or not metric.full
            ),
            f"{self.metric} compares with no set of real images; leave full and mirrored out": (
                metric.compares or not (self.full or self.mirrored)
            ),
            f"{self.metric} is taken of {' or '.join(metric.of)}": self.of in metric.of,
            "translations name their domain, and nothing else does, as in fid1k_to_b": (
                (self.of == "translations") == (self.to is not None)
            ),
            f"{self.metric} compares translations with their counterparts; add _paired": (
                self.of != "translations" or not metric.paired or self.paired
            ),
            f"only {', '.join(having(paired=True))} of translations are paired": (
                not self.paired or (self.of == "translations" and metric.paired)
            ),
            f"{self.metric} is scored on images that it does not learn from, as in {self.metric}10k_validation": (
                not metric.probe or self.split != "train"
            ),
            "only probes have long codes": "long" in metric.options or not self.long,
            f"only {', '.join(_with_option('crop'))} crops images": "crop" in metric.options or self.crop == "none",
            f"{self.metric} compares images that are not rounded": metric.rounded or self.rounding == "nearest",
            f"images={self.images}, neighbours={self.neighbours} and each={self.each} must be at least 1": (
                all(count is None or count >= 1 for count in (self.images, self.neighbours, self.each))
            ),
            f"subsets={self.subsets} of subset_size={self.subset_size}: take 1 or more of 2 or more, or 0 of 0": (
                (not self.subsets and not self.subset_size) or min(self.subsets or 0, (self.subset_size or 0) - 1) >= 1
            ),
            f"mixing={self.mixing:g} is a chance in [0, 1]": 0 <= self.mixing <= 1,
        }
        broken = [rule for rule, kept in rules.items() if not kept]
        if broken:
            raise ValueError(broken[0])

    @property
    def row(self) -> Metric:
        """The metric's row in the table."""
        return METRICS[self.metric]

    @property
    def name(self) -> str:
        """The name that `parse` reads back."""
        metric = self.row
        head = self.metric if self.extractor == metric.extractor else f"{self.metric}_{self.extractor}"
        number = f"{self.images}x{self.each}" if self.each else f"{self.images / 1000:.10g}k"
        if self.images == metric.images:
            number = ""
        joint = "_" if number and head[-1].isdigit() else ""
        draw = "" if self.subsets is None else "pairs" if not self.subsets else f"{self.subsets}x{self.subset_size}"
        parts = [
            f"{head}{joint}{number}{self.neighbours or ''}",
            "full" if self.full and not metric.full else "",
            draw.removeprefix("100") if draw.startswith("100x") else draw,
            f"{self.space or ''}{self.path or ''}",
            "long" if self.long else "",
            "recon" if self.of == "reconstructions" else "",
            self.split if self.split != "train" else "",
            f"to_{self.to}" if self.to else "",
            "paired" if self.paired else "",
            self.crop if self.crop != "none" else "",
            f"psi{self.truncation:g}" if self.truncation != 1 else "",
            f"mixed{self.mixing:g}" if self.mixing else "",
            "floored" if self.rounding == "official" else "",
            "clean" if self.resize == "clean" else "",
            "mirrored" if self.mirrored else "",
        ]
        return "_".join(filter(None, parts))

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the numbers it gives: of pr two, as pr50k3_precision and pr50k3_recall; else its own, then the baselines."""
        return tuple(f"{self.name}_{key}" for key in self.row.keys) or (self.name, *self.baselines)

    @property
    def baselines(self) -> tuple[str, ...]:
        """Names of the numbers that are taken in the same way of real images alone, to judge its own by.

        Of distances `identity`, the other domain's images as they are, and `floor`, train images of the domain itself. Of
        paired errors, what `identity`, the `mean` train image and the train image `nearest` to the input would score. Of
        diversity `reals`, random pairs of real images.
        """
        if not self.to:
            return ()
        # The train split is at no distance from itself.
        kinds = [kind for kind in self.row.baselines if kind != "floor" or self.split != "train"]
        return tuple(f"{self.name}_{kind}" for kind in kinds)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON; `Protocol(**values)` restores it."""
        return asdict(self)


def _listed(names: tuple[str, ...]) -> str:
    return " and ".join(names) or "nothing of its own"


def _with_option(field: str) -> tuple[str, ...]:
    return tuple(name for name, row in METRICS.items() if field in row.options)
