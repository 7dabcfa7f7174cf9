"""Capabilities that an algorithm or its Config may offer beyond `algorithm.Algorithm`: small protocols for `isinstance`.

Evaluation, translation, alarms, rules and searches go by these and by no algorithm's name. `isinstance` compares the names of
members alone; tests/contract/test_capabilities.py holds each algorithm that claims one to what is written here.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from alae_core.alarms import Alarm
from alae_core.algorithm import Batch, Networks, Sampling
from alae_core.schedule import Level

# Offered by the algorithm. All are handed the networks to use, since evaluation passes averages.


@runtime_checkable
class Codes(Protocol):
    """Images are made of codes [n, D], and a z of the prior has a code: path lengths, separability, pages of codes.

    `generate` without truncation or mixing is `decode` of `mapped` of `batch.noise("z", latent)`.
    """

    latent: int
    """D, the length of z and of a code."""

    def mapped(self, networks: Networks, z: Tensor) -> Tensor:
        """The codes [n, D] of standard normal z [n, D]."""
        ...

    def decode(self, networks: Networks, codes: Tensor, batch: Batch, sampling: Sampling | None = None) -> Tensor:
        """Images [n, C, R, R], about [-1, 1], of codes [n, D] at the batch's level; the batch's images are not read.

        Noise is the batch's, as `sampling` says; without `sampling` it is that of `reconstruct`.
        """
        ...


@runtime_checkable
class Styles(Codes, Protocol):
    """Each layer of the generator takes a code of its own: `decode` takes styles [n, layers, D] too."""

    def style_layers(self, level: Level) -> int:
        """Layers of the level that take a style each, from the coarsest."""
        ...


@runtime_checkable
class Encodes(Protocol):
    """Images have codes: probes, editing; with `Codes`, reciprocity and interpolation.

    With `Codes`, `decode` of `embed` without sampling is `reconstruct`.
    """

    def embed(self, networks: Networks, batch: Batch) -> Tensor:
        """The codes [n, D] of the batch's images, finite and without a random draw."""
        ...


@runtime_checkable
class EncodesLong(Encodes, Protocol):
    """The layer before the code can be had too, for probes."""

    def embed_long(self, networks: Networks, batch: Batch) -> Tensor:
        """Long codes [n, hidden] of the batch's images."""
        ...


@runtime_checkable
class Translates(Protocol):
    """Images of one domain become images of the other: `alae translate`, metrics and pages of translations.

    An image is translated the same whatever it is batched with. Domains are 0 and 1.
    """

    step: int
    """The sides of an image that can be translated are multiples of it, and at least twice that."""
    side: int | None
    """The one side in pixels that both may have; None: any."""

    def translate(self, networks: Networks, batch: Batch, to: int) -> Tensor:
        """The batch's images of domain 1 - `to` in domain `to`: [n, C, H, W] in [-1, 1].

        Raises ValueError for another domain than 0 and 1, and for sides that do not fit.
        """
        ...

    def reconstruct(self, networks: Networks, batch: Batch, domain: int = 0) -> Tensor:
        """The batch's images of the domain, encoded and decoded within it: [n, C, H, W], at least at the training's size."""
        ...


@runtime_checkable
class DrawsStyles(Translates, Protocol):
    """An image has many translations, each by a style: diversity, conditional scores, styles of examples."""

    def translate(
        self,
        networks: Networks,
        batch: Batch,
        to: int,
        style: Tensor | None = None,
        *,
        count: int = 1,
        shared: bool = False,
    ) -> Tensor:
        """[n * count, C, H, W], image by image: by `drawn_styles`, or by `style` [n, D], or one [1, D] for all.

        Raises ValueError as `Translates`, for a count below 1, and for `count` or `shared` beside a style.
        """
        ...

    def drawn_styles(self, batch: Batch, count: int = 1, *, shared: bool = False) -> Tensor:
        """Styles [n, count, D] of the batch's noise, the same for all images if `shared`; fewer are the first of more."""
        ...

    def style_of(self, networks: Networks, images: Tensor, domain: int) -> Tensor:
        """Styles [n, D] of images [n, C, H, W] of the domain; raises ValueError for sides that do not fit."""
        ...


@runtime_checkable
class Contents(Protocol):
    """A translation has two steps, so that one content serves many styles; together they are `DrawsStyles.translate`."""

    def content_of(self, networks: Networks, images: Tensor, domain: int) -> Tensor:
        """Contents [n, ...] of images [n, C, H, W] of the domain; raises ValueError for sides that do not fit."""
        ...

    def image_of(self, networks: Networks, content: Tensor, style: Tensor, domain: int) -> Tensor:
        """Images [n, C, H, W] of the domain, of n contents of either and n styles [n, D]."""
        ...


@runtime_checkable
class Attends(Protocol):
    """Heat maps show where the encoder of a domain looks."""

    def attention(self, networks: Networks, images: Tensor, domain: int) -> Tensor:
        """Heat [n, h, w], finite float32 or wider, of images [n, C, H, W]; the hotter the larger, in any unit."""
        ...


@runtime_checkable
class ComparesFeatures(Protocol):
    """A loss compares images by deep features, whose weights the user gives."""

    features: Callable[[Tensor], Tensor] | None
    """Frozen features [n, D, h, w] of images [n, C, H, W] in [-1, 1]; None until the training sets it."""


# Offered by its Config, so that nobody builds networks for them.


@runtime_checkable
class HasDomains(Protocol):
    """The number of image streams, where it is not 1."""

    domains: int
    """As the algorithm's."""


@runtime_checkable
class Grouped(Protocol):
    """Training may take statistics over several images in a row, which ranks and micro-batches then keep together."""

    @property
    def together(self) -> int:
        """Images of a group, as the algorithm's; 1 where images do not see each other."""
        ...

    @property
    def grouped_by(self) -> str:
        """The Config's field that decides it."""
        ...


@runtime_checkable
class Grown(Protocol):
    """The coarsest level that the networks have is a setting."""

    first_resolution: int | None
    """Pixels of a side; None: networks of one resolution."""


@runtime_checkable
class Warmed(Protocol):
    """A loss whose levels each begin with a warm-up."""

    warmup_kimg: tuple[float, ...]
    """Thousands of images, by level; the last entry repeats."""


@runtime_checkable
class Mixes(Protocol):
    """Styles of different images can be mixed, in training and in samples."""

    mixing_probability: float
    """Share of the training images, in [0, 1]."""


@runtime_checkable
class Perceptual(Protocol):
    """There may be a loss that compares images by VGG16's features; the algorithm then `ComparesFeatures`."""

    perceptual_field: str
    """The Config's field of its weight, dotted."""

    @property
    def perceptual_weight(self) -> float:
        """0: there is none."""
        ...


@runtime_checkable
class Watched(Protocol):
    """A run is watched by alarms, which read terms of the updates, "update/term"."""

    def alarms(self) -> tuple[Alarm, ...]:
        """The alarms, of names that differ."""
        ...


@runtime_checkable
class Charted(Protocol):
    """Terms of the updates, "update/term", are drawn in charts of the run."""

    charts: Mapping[str, Sequence[str]]
    """Title of a chart -> the metrics on its one pair of axes."""


@runtime_checkable
class Searched(Protocol):
    """`alae tune` searches something unless it is given fields."""

    def search_space(self) -> tuple[str, ...]:
        """Fields with their distributions, "algorithm.loss.x=loguniform(0.1, 10)"; each bound is valid in this Config."""
        ...


@runtime_checkable
class LimitsSearch(Protocol):
    """Some fields make no sense together in a search, or at some values."""

    def search_problem(self, paths: Collection[str]) -> str | None:
        """Why these fields, dotted from the experiment, cannot be searched together; a sentence without its full stop."""
        ...

    def trial_problem(self, start: object | None, ticks: Sequence[Mapping[str, float | None]]) -> str | None:
        """Why a trial of this Config cannot succeed; a sentence without its full stop.

        `start` is the Config of the checkpoint that training starts from, and `ticks` its last ticks' metrics.
        """
        ...


class Form(NamedTuple):
    """Another form of an algorithm, and what belongs to it in the other parts of an experiment."""

    config: Any
    """A Config of the same class."""
    settings: Mapping[str, Mapping[str, Any]]
    """Part of the experiment, as "training" -> fields -> values."""


@runtime_checkable
class HasOfficialForm(Protocol):
    """There is a form with the official code's habits, where the default differs: `<preset>_compat`."""

    def official_form(self) -> Form:
        """It, with the same networks and sizes."""
        ...


def alarms_of(config: object) -> tuple[Alarm, ...]:
    """The alarms of a Config; none where it is not `Watched`."""
    return config.alarms() if isinstance(config, Watched) else ()
