"""Pages of a translator: reals of both domains, translations with drawn styles and with examples, and heat maps.

All rows of a page use the same drawn styles, so that a column shows one style.
"""

from typing import Any

import torch
from torch import Tensor

from alae_core import images
from alae_core.algorithm import DOMAINS
from alae_core.capabilities import Attends, DrawsStyles
from pipelines.evaluation.features.extractor import most_at_once
from pipelines.evaluation.subject import Subject
from pipelines.pictures import grids, heat_maps
from pipelines.sources.decoding import Pixels


@torch.no_grad()
def pages(subject: Subject, reals: tuple[Tensor, ...], columns: int) -> dict[str, Pixels]:
    """Return pages uint8 [H, W, C] by figure name, from real images of domains a and b, each [n, C, R, R] in [-1, 1].

    For each domain: `reals_*`, `reconstructions_*`, `translations_to_*`, `guided_to_*` if the algorithm draws styles, and
    `attention_*` if it has attention. Translations with styles have one row for each of the first `columns` images. Raises
    RuntimeError if an image is not finite.
    """
    found, algorithm = {}, subject.algorithm
    for domain, name in enumerate(DOMAINS):
        own, other = (reals[index][: columns * columns] for index in (domain, 1 - domain))
        found[f"reals_{name}"] = grids.sample_page(_bytes(own), columns)
        found[f"reconstructions_{name}"] = _reconstructions(subject, own, domain, columns)
        if isinstance(algorithm, DrawsStyles):
            found[f"translations_to_{name}"] = _by_drawn_styles(subject, other[:columns], domain, max(columns - 1, 1))
            found[f"guided_to_{name}"] = _by_examples(subject, algorithm, other[:columns], own[:columns], domain)
        else:
            found[f"translations_to_{name}"] = _beside(other, _translated(subject, other, domain), columns)
        if isinstance(algorithm, Attends):
            found[f"attention_{name}"] = _attention(subject, algorithm, own, domain, columns)
    return found


def _by_drawn_styles(subject: Subject, real: Tensor, to: int, count: int) -> Pixels:
    drawn = _translated(subject, real, to, each=count, count=count, shared=True)
    return grids.edited_page(_bytes(real), _bytes(drawn))


def _by_examples(subject: Subject, algorithm: DrawsStyles, real: Tensor, examples: Tensor, to: int) -> Pixels:
    """Page of translations: images at the left edge, examples of domain `to` at the top."""
    styles = algorithm.style_of(subject.networks, examples, to)
    columns = [_translated(subject, real, to, style=style[None]) for style in styles]
    guided = torch.stack(columns, 1).flatten(0, 1)
    return grids.mixing_page(_bytes(real), _bytes(examples), _bytes(guided))


def _attention(subject: Subject, algorithm: Attends, real: Tensor, domain: int, columns: int) -> Pixels:
    parts = real.split(most_at_once(subject.level.resolution))
    heat = torch.cat([algorithm.attention(subject.networks, part, domain) for part in parts])
    shown = _bytes(real)
    coloured = shown if shown.shape[3] == 3 else shown.repeat(3, axis=3)
    return grids.reconstruction_page(coloured, heat_maps.over(shown, heat), columns)


def _translated(subject: Subject, real: Tensor, to: int, each: int = 1, **how: Any) -> Tensor:
    """`each` consecutive translations per image, [n * each, C, R, R]."""
    parts = real.split(max(most_at_once(subject.level.resolution) // each, 1))
    return torch.cat([subject.translated(part, to, 0, "pages", **how) for part in parts])


def _reconstructions(subject: Subject, real: Tensor, domain: int, columns: int) -> Pixels:
    again = subject.reconstruction(real, domain)
    assert again is not None, "a translator decodes within its domain too"
    return _beside(real, again, columns)


def _beside(real: Tensor, made: Tensor, columns: int) -> Pixels:
    return grids.reconstruction_page(_bytes(real), _bytes(made), columns)


def _bytes(content: Tensor) -> Pixels:
    return images.to_uint8(content).numpy()
