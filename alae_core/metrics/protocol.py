"""Protocols of metrics, and their names: `fid50k_full`, `kid10k_x1000`, `ppl_wend`, `fd_lite0_5k_mixed0.9`.

A name consists of the metric, its extractor unless it is the usual one, the number of images, and all unusual options. FID and
KID use Inception's features; over other features the distances are called fd and kd. Metrics of translations name the domain
of the translations, as in `kd_lite0_0.3k_x100_validation_to_b`.
"""

import re
from dataclasses import asdict, dataclass
from typing import Any, Literal

from alae_core.metrics.path_length import Crop
from alae_core.metrics.table import METRICS, Kind, Metric, having

_OWN = ("subsets", "subset_size", "neighbours", "each", "space", "path")


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Protocol of a measurement; values compare only if their protocols are equal. Raises ValueError on a contradiction."""

    metric: str
    images: int
    """Number of generated images; for ppl of paths, for msssim of pairs, for reconstructions and translations of inputs.

    For probes, the number of real images of the train split that they learn from; all images of `split` score them.
    """
    extractor: str = ""
    """Source of the features: inception, vgg16, alexnet, lite0, classifier, pixels, or "" without features."""
    full: bool = False
    """Compare with all images of the split instead of as many as are generated."""
    split: Literal["train", "validation", "test"] = "train"
    of: Kind = "samples"
    to: Literal["a", "b"] | None = None
    """Domain of the translations, which are made from the other domain's `split` and compared with this domain's."""
    paired: bool = False
    """Compare each translation with the image of the same id in its domain."""
    subsets: int | None = None
    """Number of random subsets that kid and kd average over; 0 for one estimate from all pairs."""
    subset_size: int | None = None
    neighbours: int | None = None
    """Number of nearest neighbours k that sets the radius of pr's balls."""
    each: int | None = None
    """Outputs per input for cis, pairs of outputs per input for diversity."""
    space: Literal["z", "w"] | None = None
    """Space of the codes for ppl and ls."""
    path: Literal["full", "end"] | None = None
    long: bool = False
    """Let probes use the encoder's last hidden layer instead of the code."""
    crop: Crop = "none"
    """Part of each image that ppl compares; see `path_length.comparable`."""
    truncation: float = 1.0
    """Truncation psi; 1 is none."""
    mixing: float = 0.0
    """Probability that an image's styles are mixed."""
    rounding: Literal["nearest", "official"] = "nearest"
    """Conversion of images to uint8; for "official" see `images.to_uint8_floored`."""
    resize: Literal["extractor", "clean"] = "extractor"
    """Resize filter: the extractor's own, or antialiased bicubic (Parmar et al. 2022)."""
    mirrored: bool = False
    """Mirror real images randomly."""

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
        """Names of the measured values: its own name and the baselines, or for pr pr50k3_precision and pr50k3_recall."""
        return tuple(f"{self.name}_{key}" for key in self.row.keys) or (self.name, *self.baselines)

    @property
    def baselines(self) -> tuple[str, ...]:
        """Names of reference values, measured in the same way on real images only.

        Distances have `identity`, the other domain's images unchanged, and `floor`, train images of the domain itself. Paired
        errors have `identity`, the `mean` train image, and the train image `nearest` to the input. Diversity has `reals`,
        random pairs of real images.
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
