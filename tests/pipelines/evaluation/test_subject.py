"""The subject of an evaluation returns the algorithm's codes and images at the checkpoint's level."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from alae_core.algorithm import Sampling
from pipelines.evaluation.subject import Subject
from tests.core import test_intro_vae as intro_vae
from tests.core import test_style_soft_intro_vae as style_soft_intro_vae
from tests.support.tensors import float64


@pytest.fixture(autouse=True)
def _in_double_precision() -> Iterator[None]:
    torch.manual_seed(0)
    with float64():
        yield


def test_codes_of_the_prior_are_taken_as_they_are_and_decoded_at_the_level() -> None:
    algorithm, of = intro_vae.built(), intro_vae.batch(4)
    subject = Subject(algorithm=algorithm, networks=algorithm.networks, level=of.level, channels=3, seed=0)
    z = of.noise("z", 6)
    assert subject.mapped(z) is z and subject.latent == 6 and subject.styles == 1
    assert torch.equal(subject.decoded(subject.encoded(of), of), algorithm.reconstruct(algorithm.networks, of))  # type: ignore[arg-type]
    assert subject.decoded(z, of).shape == (len(z), 3, 4, 4)


def test_the_mean_style_decoded_is_every_sample_that_is_truncated_to_it() -> None:
    algorithm = style_soft_intro_vae.built(w_mean_decay=0.0)
    mapping: Any = algorithm.networks["mapping"]
    algorithm.observe(style_soft_intro_vae.batch("observe"), {})
    level = style_soft_intro_vae.LEVEL
    subject = Subject(algorithm=algorithm, networks=algorithm.networks, level=level, channels=3, seed=0)
    still = Sampling(truncation=0.0, noise="none")
    images = subject.generate(subject.batch(0, 3), still)
    decoded = subject.decoded(mapping.w_mean.expand(3, -1), subject.batch(0, 3), still)
    torch.testing.assert_close(decoded, images)
    torch.testing.assert_close(subject.mapped(torch.ones(1, 6)), mapping(torch.ones(1, 6)))
