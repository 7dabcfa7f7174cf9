"""Soft-IntroVAE: the exponential term, its scale, and each update against the paper's formula."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from alae_core import losses
from alae_core.algorithm import Batch
from alae_core.algorithms import soft_intro_vae
from tests.core.test_intro_vae import batch, gradients, terms_of, weights_of
from tests.support.tensors import float64

LOSS = soft_intro_vae.LossConfig(
    reconstruction_weight=0.3, kl_weight=0.7, negative_weight=(5.0,), fake_reconstruction_weight=0.25
)
SMALL = soft_intro_vae.Config(
    resolution=8, latent=6, base_channels=4, max_channels=8, first_resolution=4, group=4, loss=LOSS
)
SCALE = 1 / (3 * 8 * 8)


@pytest.fixture(autouse=True)
def _in_double_precision() -> Iterator[None]:
    torch.manual_seed(0)
    with float64():
        yield


def built(**changes: Any) -> soft_intro_vae.SoftIntroVAE:
    options = {name: changes.pop(name) for name in tuple(changes) if hasattr(LOSS, name)}
    return replace(SMALL, loss=replace(LOSS, **options), **changes).build()


def total(algorithm: Any, name: str, of: Batch) -> Tensor:
    """The weighted sum of the means of an update's terms, which the engine minimises."""
    weights = weights_of(algorithm, name, of.level)
    terms = terms_of(algorithm, name, of)
    assert weights.keys() == terms.keys()
    return torch.stack([weight * terms[term].mean() for term, weight in weights.items()]).sum()


def squared(a: Tensor, b: Tensor) -> Tensor:
    return ((a - b) / 2).square().sum((1, 2, 3))


def kl(codes: tuple[Tensor, Tensor]) -> Tensor:
    return (codes[0] ** 2 + codes[1].exp() - 1 - codes[1]).sum(1) / 2


class Paper:
    """The paper's two losses for one batch, computed directly with an algorithm's networks."""

    def __init__(self, algorithm: Any, of: Batch, update: str) -> None:
        self.encoder, self.generator = algorithm.networks["encoder"], algorithm.networks["generator"]
        self.real = of.images[0]
        fixed, own = replace(of, update="codes"), replace(of, update=update)
        mean, log_variance = self.encode(self.real)
        self.codes = mean, log_variance
        self.z = mean + (log_variance / 2).exp() * fixed.noise("posterior", 6)
        self.z_p = fixed.noise("prior", 6)
        self.noise = {name: own.noise(f"posterior of {name}", 6) for name in ("reconstruction", "sample")}

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        found: tuple[Tensor, Tensor] = self.encoder(images, 1)
        return found

    def decode(self, z: Tensor) -> Tensor:
        found: Tensor = self.generator(z, 1)
        return found

    def of_encoder(self) -> Tensor:
        fakes = {"reconstruction": self.decode(self.z), "sample": self.decode(self.z_p)}
        loss = SCALE * (0.3 * squared(fakes["reconstruction"], self.real) + 0.7 * kl(self.codes)).mean()
        for name, fake in fakes.items():
            fake = fake.detach()
            codes = self.encode(fake)
            again = self.decode(codes[0] + (codes[1] / 2).exp() * self.noise[name])
            loss = loss + 0.25 * torch.exp(-2 * SCALE * (0.3 * squared(again, fake) + 5.0 * kl(codes))).mean()
        return loss

    def of_generator(self) -> Tensor:
        fakes = {"reconstruction": self.decode(self.z.detach()), "sample": self.decode(self.z_p)}
        loss = SCALE * 0.3 * squared(fakes["reconstruction"], self.real).mean()
        for name, fake in fakes.items():
            codes = self.encode(fake)
            again = self.decode((codes[0] + (codes[1] / 2).exp() * self.noise[name]).detach())
            own = 0.25 * 0.3 * squared(again, fake.detach())
            loss = loss + SCALE * 0.5 * (0.7 * kl(codes) + own).mean()
        return loss


@pytest.mark.parametrize("norm", ["group", "batch", "none"])
@pytest.mark.parametrize("name", ["encoder", "generator"])
def test_an_update_s_loss_and_gradient_are_the_paper_s(name: str, norm: str) -> None:
    algorithm, of = built(norm=norm), replace(batch(), update=name)
    paper = Paper(algorithm, of, name)
    expected = paper.of_encoder() if name == "encoder" else paper.of_generator()
    found = total(algorithm, name, of)
    torch.testing.assert_close(found, expected)
    network = algorithm.networks[name]
    pairs = zip(gradients(found, network), gradients(expected, network), strict=True)
    assert max(float((a - b).abs().max()) for a, b in pairs) < 1e-12


def test_the_exponentials_of_fakes_that_pass_for_real_are_a_half_in_all() -> None:
    passed = losses.exponential_elbo(torch.zeros(3), torch.zeros(3), 0.1, 2.0, 3.0)
    weights = weights_of(built(), "encoder", batch().level)
    assert torch.equal(passed, torch.ones(3))
    assert weights["exp_reconstruction"] + weights["exp_sample"] == 0.5


def test_the_exponential_is_of_each_image_and_falls_with_its_error_and_divergence() -> None:
    error, divergence = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 0.0])
    found = losses.exponential_elbo(error, divergence, 0.1, 2.0, 5.0)
    torch.testing.assert_close(found, torch.exp(torch.tensor([-0.2 * (2 + 15), -0.2 * 4])))


def test_scaled_errors_keep_their_size_from_one_resolution_and_one_level_to_the_next() -> None:
    sizes = []
    for resolution in (8, 16, 32):
        algorithm = built(resolution=resolution, channels=3)
        assert algorithm.scale == pytest.approx(1 / (3 * resolution**2))
        for size in (4, resolution):
            images = torch.zeros(8, 3, size, size)
            sizes.append(float((algorithm.scale * algorithm._error(images, images + 1.0, batch(size))).mean()))
    assert sizes == pytest.approx([0.25] * 6)


def test_a_scale_of_one_s_own_multiplies_all_but_the_exponentials() -> None:
    weights = weights_of(built(scale=1e-3), "encoder", batch().level)
    assert (weights["reconstruction"], weights["kl_real"]) == pytest.approx((3e-4, 7e-4))
    assert weights["exp_sample"] == 0.25


def test_negative_weights_are_by_level() -> None:
    algorithm = built(negative_weight=(0.0, 1e4), first_resolution=4)
    coarse, fine = (terms_of(algorithm, "encoder", batch(resolution)) for resolution in (4, 8))
    assert coarse["exp_sample"].mean() > fine["exp_sample"].mean()
    repeated = built(negative_weight=(3.0,)), built(negative_weight=(3.0, 3.0))
    for own, other in zip(repeated[0].networks.values(), repeated[1].networks.values(), strict=True):
        other.load_state_dict(own.state_dict())
    first, second = (terms_of(algorithm, "encoder", batch(8))["exp_sample"] for algorithm in repeated)
    assert torch.equal(first, second)


def test_the_warm_up_is_a_plain_vae_without_fakes() -> None:
    algorithm = built(warmup_kimg=(0.016,))
    of = batch(seen=8)
    assert terms_of(algorithm, "encoder", of).keys() == {"reconstruction", "kl_real"}
    for update in ("encoder", "generator"):
        assert terms_of(algorithm, update, of).keys() == weights_of(algorithm, update, of.level).keys()
    assert terms_of(algorithm, "generator", of).keys() == {"reconstruction"}
    assert terms_of(algorithm, "encoder", batch(seen=16))["exp_sample"].requires_grad


def test_the_fakes_own_reconstruction_is_left_out_where_it_weighs_nothing() -> None:
    assert "fake_reconstruction" in terms_of(built(), "generator", batch())
    assert "fake_reconstruction" not in terms_of(built(fake_reconstruction_weight=0.0), "generator", batch())


def test_images_see_each_other_in_batch_norm_alone() -> None:
    assert [built(norm=norm).together for norm in ("group", "batch", "none")] == [1, 4, 1]


def test_the_second_norm_precedes_the_addition() -> None:
    block: Any = built().networks["encoder"].blocks["4"]  # type: ignore[index]
    assert block.norm_after_addition is False


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"scale": 0.0}, "scale=0.0; give more than 0"),
        ({"negative_weight": ()}, r"negative_weight=\(\); give one value"),
        ({"warmup_kimg": (1.0, -1.0)}, r"warmup_kimg=\(1.0, -1.0\); give one value"),
    ],
)
def test_losses_that_cannot_be_are_refused_in_a_sentence(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=rf"^algorithm\.loss\.{sentence}"):
        replace(LOSS, **options)
