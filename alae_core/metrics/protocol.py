"""How a number was measured, and the name that says so: `fid50k_full`, `kid10k_x1000`, `ppl_wend`, `fd_lite0_5k_mixed0.9`.

A name is the metric, its extractor where that is not the field's own, the number of images, and whatever is unusual in how
they are made. FID and KID are for Inception's features only; over others the distances are called fd and kd.
"""

import re
from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Metric:
    """What a metric's protocol must have, and what its name leaves out."""

    extractor: str = ""
    """The field's own; "" where there is none."""
    images: int | None = None
    """The number that a name leaves out."""
    needs: tuple[str, ...] = ()
    """The fields that this metric has beside those of all."""
    full: bool = False
    """Whether it always compares with the whole split."""
    of: Literal["samples", "reconstructions"] | None = None
    """What it is always taken of; None for either."""


METRICS = {
    "fid": Metric("inception"),
    "fd": Metric(full=True),
    "kid": Metric("inception", needs=("subsets", "subset_size")),
    "kd": Metric(needs=("subsets", "subset_size")),
    "pr": Metric("vgg16", needs=("neighbours",)),
    "is": Metric("inception"),
    "cis": Metric("inception", needs=("each",)),
    "ppl": Metric("vgg16", images=100_000, needs=("space", "path"), of="samples"),
    "ls": Metric(images=200_000, needs=("space",), of="samples"),
    "lpips": Metric("vgg16", of="reconstructions"),
    "l1": Metric(of="reconstructions"),
    "l2": Metric(of="reconstructions"),
    "reciprocity": Metric(of="samples"),
    "probe1nn": Metric(of="samples"),
    "probesvm": Metric(of="samples"),
    "diversity": Metric("alexnet", needs=("each",)),
    "msssim": Metric(),
}
_PLAIN = {"fid": "fd", "kid": "kd"}
PROBES = ("probe1nn", "probesvm")
_COMPARING = ("fid", "fd", "kid", "kd", "pr")
_OWN = ("subsets", "subset_size", "neighbours", "each", "space", "path")


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How a number is measured; two numbers compare if their protocols are equal. Raises ValueError on a contradiction."""

    metric: str
    images: int
    """Generated images; of ppl paths, of msssim pairs, of cis and diversity inputs, of reconstructions real images.

    Of probes the real images of the train split that they learn from; all of `split` score them.
    """
    extractor: str = ""
    """What features come from: inception, vgg16, alexnet, lite0, classifier, pixels, or "" where none are taken."""
    full: bool = False
    """Compare with every image of the split, not with as many as are generated."""
    split: Literal["train", "validation", "test"] = "train"
    of: Literal["samples", "reconstructions"] = "samples"
    subsets: int | None = None
    """Of kid and kd: over how many random subsets the mean goes; 0 for one estimate from all pairs."""
    subset_size: int | None = None
    neighbours: int | None = None
    """Of pr: the k of its balls."""
    each: int | None = None
    """Of cis: outputs for each input; of diversity: pairs."""
    space: Literal["z", "w"] | None = None
    """Of ppl and ls: where codes are taken."""
    path: Literal["full", "end"] | None = None
    long: bool = False
    """Of probes: take the encoder's last hidden layer for the code."""
    crop: Literal["none", "face", "celeba"] = "none"
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
        metric = METRICS[self.metric]
        own = tuple(name for name in _OWN if getattr(self, name) is not None)
        compares = self.metric in _COMPARING
        rules = {
            f"{self.metric} needs {_listed(metric.needs)}, it has {_listed(own)}": own == metric.needs,
            f"extractor={self.extractor!r} must be lower-case letters and digits, a letter first": (
                re.fullmatch("([a-z][a-z0-9]*)?", self.extractor) is not None
            ),
            f"{self.metric} is for inception's features; over {self.extractor} it is {_PLAIN.get(self.metric)}": (
                self.metric not in _PLAIN or self.extractor == "inception"
            ),
            f"{self.metric} needs an extractor other than inception, as in {self.metric}_lite0_5k": (
                self.metric not in _PLAIN.values() or self.extractor not in ("", "inception")
            ),
            f"{self.metric} compares with the whole split, whose statistics are kept; set full": (
                self.full or not metric.full
            ),
            f"{self.metric} compares with no set of real images; leave full and mirrored out": (
                compares or not (self.full or self.mirrored)
            ),
            f"{self.metric} is taken of {metric.of}": metric.of in (None, self.of),
            f"{self.metric} is scored on images that it does not learn from, as in {self.metric}10k_validation": (
                self.metric not in PROBES or self.split != "train"
            ),
            "only probes have long codes": self.metric in PROBES or not self.long,
            "only ppl crops images": self.metric == "ppl" or self.crop == "none",
            "ppl compares images that are not rounded": self.metric != "ppl" or self.rounding == "nearest",
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
    def name(self) -> str:
        """The name that `parse` reads back."""
        metric = METRICS[self.metric]
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
        """Names of the numbers it gives: two for pr, as in pr50k3_precision and pr50k3_recall; its own for all others."""
        return (f"{self.name}_precision", f"{self.name}_recall") if self.metric == "pr" else (self.name,)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON; `Protocol(**values)` restores it."""
        return asdict(self)


def _listed(names: tuple[str, ...]) -> str:
    return " and ".join(names) or "nothing of its own"
