"""One row a metric: fields of its protocol, kinds of images, extractors, the better side, and words for people.

A metric is its file in this folder, its row here, and its recipe in `pipelines.evaluation.recipes`; nothing else names it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from alae_core.metrics import ms_ssim, path_length
from alae_core.metrics.path_length import Crop

Kind = Literal["samples", "reconstructions", "translations"]
Better = Literal["lower", "higher", "neither"]
ANY: tuple[Kind, ...] = ("samples", "reconstructions", "translations")
GIVEN: tuple[Kind, ...] = ("reconstructions", "translations")
FEATURES = ("inception", "vgg16", "lite0", "classifier", "pixels")
"""The extractors of features for distances between sets of images."""
DISTANCE = ("identity", "floor")
PAIRED = ("identity", "mean", "nearest")


def _fits(side: int, crop: Crop) -> str:
    return ""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric. Fields of `Protocol` are meant where fields are named."""

    title: str
    """Its name in full."""
    unit: str
    """Meaning of one unit of its value."""
    source: str
    """The paper that defines it."""
    better: Better
    """Which values are the better ones."""
    usual: tuple[str, ...]
    """Names that are usual; errors list them. Any other number of images and any option does as well."""

    of: tuple[Kind, ...] = ("samples",)
    """Kinds of images that it can be taken of."""
    drawn: str = ""
    """The things that `images` counts; "" where these are images of the kind that `of` says."""
    repeated: str = ""
    """The things that `each` counts, where the metric needs it."""
    images: int | None = None
    """The number of images that a name leaves out."""
    keys: tuple[str, ...] = ()
    """Endings of its values' names, where it gives several values."""

    extractor: str = ""
    """The extractor that a name leaves out; "" where there is none."""
    extractors: tuple[str, ...] = ()
    """The extractors that it can be taken by; none where it takes no features."""
    called: Mapping[str, str] = field(default_factory=dict)
    """Extractor -> the name that the same metric has over it; "" stands for all but `extractor`."""
    unnamed: str = ""
    """The need that the error names where a name gives no extractor, or one that `called` names."""
    perceptual: bool = False
    """Whether the extractor gives a distance between two images, such as LPIPS."""
    classes: bool = False
    """Whether the extractor gives probabilities of classes."""

    needs: tuple[str, ...] = ()
    """The fields that this metric has beside those of all."""
    options: tuple[str, ...] = ()
    """The fields that only some metrics may set, and this one may."""
    unused: Mapping[str, str] = field(default_factory=dict)
    """Fields that would change nothing of this metric -> why and the way out; "" for the usual sentence."""
    full: bool = False
    """Whether it always compares with the whole split."""
    rounded: bool = True
    """Whether it is taken of images as bytes."""

    compares: bool = False
    """Whether it compares with a set of real images."""
    paired: bool = False
    """Whether translations are compared with their counterparts one by one."""
    baselines: tuple[str, ...] = ()
    """Baselines of its translations; see `Protocol.baselines`."""
    probe: bool = False
    """Whether it learns from codes of labelled train images and is scored on those of another split."""
    attributes: bool = False
    """Whether it needs the classifier of the dataset's binary attributes."""
    codes: bool = False
    """Whether it needs the codes that samples are made of."""
    encodes: bool = False
    """Whether it needs an encoder, whatever it is taken of."""
    unfit: Callable[[int, Crop], str] = _fits
    """(side in px, crop) -> why images of that side cannot be measured; "" where they can."""


def _unused(*fields: str, **reasons: str) -> dict[str, str]:
    return reasons | dict.fromkeys(fields, "")


METRICS: dict[str, Metric] = {
    "fid": Metric(
        title="Fréchet Inception distance",
        unit="squared unit of Inception's features",
        source="Heusel et al. 2017, arXiv:1706.08500, equation 6",
        better="lower",
        usual=("fid50k_full", "fid50k", "fid5k_full", "fid5k_full_validation_to_b"),
        of=ANY,
        extractor="inception",
        extractors=("inception",),
        called={"": "fd"},
        compares=True,
        baselines=DISTANCE,
    ),
    "fd": Metric(
        title="Fréchet distance",
        unit="squared unit of the features",
        source="Heusel et al. 2017, arXiv:1706.08500, equation 6",
        better="lower",
        usual=("fd_classifier5k", "fd_pixels5k", "fd_lite0_5k", "fd_lite0_5k_validation_to_b"),
        of=ANY,
        extractors=FEATURES,
        called={"inception": "fid"},
        unnamed="an extractor other than inception, as in fd_lite0_5k",
        full=True,
        compares=True,
        baselines=DISTANCE,
    ),
    "kid": Metric(
        title="kernel Inception distance",
        unit="squared maximum mean discrepancy",
        source="Bińkowski et al. 2018, arXiv:1801.01401",
        better="lower",
        usual=("kid50k_full_x1000", "kid10k_x1000", "kid10k_pairs", "kid0.1k_x50_validation_to_b"),
        of=ANY,
        extractor="inception",
        extractors=("inception",),
        called={"": "kd"},
        needs=("subsets", "subset_size"),
        compares=True,
        baselines=DISTANCE,
    ),
    "kd": Metric(
        title="kernel distance",
        unit="squared maximum mean discrepancy",
        source="Bińkowski et al. 2018, arXiv:1801.01401",
        better="lower",
        usual=("kd_lite0_5k_x1000", "kd_lite0_5k_pairs_validation_to_b"),
        of=ANY,
        extractors=FEATURES,
        called={"inception": "kid"},
        unnamed="an extractor other than inception, as in kd_lite0_5k",
        needs=("subsets", "subset_size"),
        compares=True,
        baselines=DISTANCE,
    ),
    "pr": Metric(
        title="precision and recall",
        unit="share of images",
        source="Kynkäänniemi et al. 2019, arXiv:1904.06991, equations 1 and 2",
        better="higher",
        usual=("pr50k3", "pr50k3_full"),
        of=ANY,
        keys=("precision", "recall"),
        extractor="vgg16",
        extractors=FEATURES,
        needs=("neighbours",),
        compares=True,
    ),
    "is": Metric(
        title="Inception score",
        unit="effective number of classes",
        source="Salimans et al. 2016, arXiv:1606.03498, section 4",
        better="higher",
        usual=("is50k", "is_classifier1k_validation_to_b"),
        of=ANY,
        extractor="inception",
        extractors=("inception", "classifier"),
        classes=True,
    ),
    "cis": Metric(
        title="conditional Inception score",
        unit="nat",
        source="Huang et al. 2018 (MUNIT), arXiv:1804.04732, section 5.2",
        better="higher",
        usual=("cis_classifier100x100_validation_to_b",),
        of=("translations",),
        repeated="outputs",
        extractor="inception",
        extractors=("inception", "classifier"),
        classes=True,
        needs=("each",),
    ),
    "ppl": Metric(
        title="perceptual path length",
        unit="LPIPS distance per squared step",
        source="Karras et al. 2019 (StyleGAN), arXiv:1812.04948, section 4.1",
        better="lower",
        usual=("ppl_zfull", "ppl_zend", "ppl_wfull", "ppl_wend", "ppl50k_wend"),
        drawn="paths",
        images=100_000,
        extractor="vgg16",
        extractors=("vgg16",),
        perceptual=True,
        needs=("space", "path"),
        options=("crop",),
        unused=_unused("mixing", truncation="paths are not truncated; leave psi out"),
        rounded=False,
        unfit=path_length.unfit,
        codes=True,
    ),
    "ls": Metric(
        title="linear separability",
        unit="exp of the mean conditional entropy",
        source="Karras et al. 2019 (StyleGAN), arXiv:1812.04948, section 4.2",
        better="lower",
        usual=("ls_z", "ls_w"),
        images=200_000,
        needs=("space",),
        unused=_unused("split", "truncation", "mixing"),
        attributes=True,
        codes=True,
    ),
    "lpips": Metric(
        title="learned perceptual distance",
        unit="LPIPS distance",
        source="Zhang et al. 2018, arXiv:1801.03924, equation 1",
        better="lower",
        usual=("lpips10k_recon_test", "lpips1k_validation_to_b_paired"),
        of=GIVEN,
        extractor="vgg16",
        extractors=("vgg16", "alexnet"),
        perceptual=True,
        paired=True,
        baselines=PAIRED,
    ),
    "pd": Metric(
        title="perceptual distance",
        unit="distance in LPIPS' form",
        source="Zhang et al. 2018, arXiv:1801.03924, equation 1, without learned heads",
        better="lower",
        usual=("pd_lite0_10k_recon_test", "pd_lite0_1k_validation_to_b_paired"),
        of=GIVEN,
        extractors=("lite0",),
        called={"vgg16": "lpips", "alexnet": "lpips"},
        unnamed="an extractor, as in pd_lite0_1k_recon; over vgg16 and alexnet it is lpips",
        perceptual=True,
        paired=True,
        baselines=PAIRED,
    ),
    "l1": Metric(
        title="mean absolute error",
        unit="half the range of a pixel",
        source="none: the mean over the pixels",
        better="lower",
        usual=("l1_10k_recon_test", "l1_1k_validation_to_b_paired"),
        of=GIVEN,
        paired=True,
        baselines=PAIRED,
    ),
    "l2": Metric(
        title="mean squared error",
        unit="squared half of the range of a pixel",
        source="none: the mean over the pixels",
        better="lower",
        usual=("l2_10k_recon_test",),
        of=GIVEN,
        paired=True,
        baselines=PAIRED,
    ),
    "reciprocity": Metric(
        title="reciprocity of codes",
        unit="squared unit of w",
        source="Pidhorskyi et al. 2020 (ALAE), arXiv:2004.04467",
        better="lower",
        usual=("reciprocity5k",),
        drawn="codes",
        unused=_unused("truncation", "mixing"),
        encodes=True,
        codes=True,
    ),
    "probe1nn": Metric(
        title="accuracy of the nearest neighbour",
        unit="share of images",
        source="Donahue et al. 2017 (BiGAN), arXiv:1605.09782; ALAE, table 2",
        better="higher",
        usual=("probe1nn10k_validation",),
        drawn="codes",
        options=("long",),
        unused=_unused("truncation", "mixing", "rounding"),
        probe=True,
        encodes=True,
    ),
    "probesvm": Metric(
        title="accuracy of a linear support vector machine",
        unit="share of images",
        source="Donahue et al. 2017 (BiGAN), arXiv:1605.09782; ALAE, table 2",
        better="higher",
        usual=("probesvm10k_validation", "probesvm10k_long_validation"),
        drawn="codes",
        options=("long",),
        unused=_unused("truncation", "mixing", "rounding"),
        probe=True,
        encodes=True,
    ),
    "diversity": Metric(
        title="diversity of translations",
        unit="distance between two translations of one image",
        source="Huang et al. 2018 (MUNIT), arXiv:1804.04732, section 5.2",
        better="neither",
        usual=("diversity_lite0_100x19_validation_to_b", "diversity100x19_validation_to_b"),
        of=("translations",),
        repeated="pairs",
        extractor="alexnet",
        extractors=("lite0", "vgg16", "alexnet"),
        perceptual=True,
        needs=("each",),
        baselines=("reals",),
    ),
    "msssim": Metric(
        title="multi-scale structural similarity",
        unit="similarity; 1 of equal images",
        source="Wang, Simoncelli and Bovik 2003, equation 7",
        better="neither",
        usual=("msssim10k",),
        of=("samples", "reconstructions"),
        drawn="pairs",
        unfit=ms_ssim.unfit,
    ),
}
"""The metrics by the first word of their names."""


def having(**fields: bool) -> tuple[str, ...]:
    """The metrics whose rows have these values, in the order of the table."""
    return tuple(name for name, row in METRICS.items() if all(getattr(row, key) == fields[key] for key in fields))
