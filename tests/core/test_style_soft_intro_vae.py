"""Style-Soft-IntroVAE: its losses computed by hand, the images whose styles are mixed, and where gradients stop."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from alae_core import latents
from alae_core.algorithm import Batch, Sampling
from alae_core.algorithms import style_soft_intro_vae
from alae_core.algorithms.soft_intro_vae import LossConfig
from alae_core.algorithms.style_soft_intro_vae import Config, StyleSoftIntroVAE
from alae_core.algorithms.style_synthesis import layers_of
from alae_core.layers import LOG_VARIANCE_BOUNDS
from alae_core.networks.posterior import StylePosterior
from alae_core.schedule import Level

LOSS = LossConfig(kl_weight=0.2, reconstruction_weight=0.4, negative_weight=(64.0, 32.0), scale=1e-3)
SMALL = Config(
    resolution=8,
    latent=6,
    base_channels=4,
    max_channels=8,
    mapping_layers=2,
    rgb_gain=1.0,
    mixing_probability=0.0,
    loss=LOSS,
)
COUNT = 4
LEVEL = Level(index=1, resolution=8, blend=0.75, batch_size=COUNT, lr=1e-3, seen=64)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def built(**options: Any) -> StyleSoftIntroVAE:
    """An algorithm without zero weights, so that noise and biases have effect."""
    algorithm = replace(SMALL, **options).build()
    with torch.no_grad():
        for network in algorithm.networks.values():
            for parameter in network.parameters():
                if not parameter.any():
                    parameter.normal_(std=0.3)
    return algorithm


def batch(update: str = "encoder", level: Level = LEVEL, rows: slice = slice(0, COUNT)) -> Batch:
    size = (COUNT, 3, level.resolution, level.resolution)
    images = torch.rand(*size, generator=torch.Generator().manual_seed(1))[rows] * 2 - 1
    return Batch(images=(images,), level=level, nimg=640, seed=0, rows=rows, update=update)


class ByHand:
    """Calls of the single networks in the arrangement of the paper's figure."""

    def __init__(self, networks: dict[str, nn.Module], part: Batch) -> None:
        self.networks, self.part = networks, part
        self.codes = replace(part, update="codes")

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        style = self.networks["encoder"](images, 1, 0.75)
        return self.networks["posterior"](style)  # type: ignore[no-any-return]

    def image(self, z: Tensor, part: int = 0) -> Tensor:
        styles = latents.broadcast_styles(self.networks["mapping"](z), 4)
        noise = lambda name, *shape: self.part.noise(f"{name} of part {part}", *shape)  # noqa: E731
        return self.networks["generator"](styles, noise, 1, 0.75)  # type: ignore[no-any-return]

    def z(self, posterior: tuple[Tensor, Tensor], noise: Tensor) -> Tensor:
        return posterior[0] + (posterior[1] / 2).exp() * noise


def kl(posterior: tuple[Tensor, Tensor]) -> Tensor:
    mean, log_variance = posterior
    return 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1)


def error(images: Tensor, target: Tensor) -> Tensor:
    """The squared error of images in [-1, 1], in units of [0, 1]: a quarter."""
    return ((images - target) ** 2).sum((1, 2, 3)) / 4


def test_the_encoders_terms_are_those_of_the_paper_by_hand() -> None:
    algorithm = built()
    update, _ = algorithm.updates(0)
    terms = update.loss(batch())
    hand = ByHand(algorithm.networks, batch())
    real = batch().images[0]
    posterior = hand.posterior(real)
    reconstruction = hand.image(hand.z(posterior, hand.codes.noise("posterior", 6)))
    sample = hand.image(hand.codes.noise("z", 6))
    torch.testing.assert_close(terms["reconstruction"], error(reconstruction, real))
    torch.testing.assert_close(terms["kl_real"], kl(posterior))
    for part, (name, fake) in enumerate((("reconstruction", reconstruction), ("sample", sample))):
        of_fake = hand.posterior(fake)
        again = hand.image(hand.z(of_fake, batch().noise(f"posterior of {name}", 6)), part)
        passed = torch.exp(-2e-3 * (0.4 * error(again, fake) + 32.0 * kl(of_fake)))
        torch.testing.assert_close(terms[f"kl_{name}"], kl(of_fake))
        torch.testing.assert_close(terms[f"exp_{name}"], passed, rtol=1e-4, atol=1e-12)


def test_the_generators_terms_are_those_of_the_paper_by_hand() -> None:
    algorithm = built()
    encoder, generator = algorithm.updates(0)
    first = batch()
    encoder.loss(first)
    second = replace(first, update="generator")
    terms = generator.loss(second)
    hand = ByHand(algorithm.networks, second)
    z = hand.z(hand.posterior(first.images[0]), hand.codes.noise("posterior", 6))
    reconstruction, sample = hand.image(z, 0), hand.image(hand.codes.noise("z", 6), 1)
    torch.testing.assert_close(terms["reconstruction"], error(reconstruction, first.images[0]))
    torch.testing.assert_close(terms["kl_reconstruction"], kl(hand.posterior(reconstruction)))
    torch.testing.assert_close(terms["kl_sample"], kl(hand.posterior(sample)))


def test_the_weights_are_the_papers_and_those_of_a_vae_in_the_warm_up() -> None:
    encoder, generator = built(loss=replace(LOSS, warmup_kimg=(0.0, 0.1))).updates(0)
    warm, later = replace(LEVEL, seen=92), replace(LEVEL, seen=100)
    error_and_kl = {"reconstruction": 1e-3 * 0.4, "kl_real": 1e-3 * 0.2}
    measured = {"kl_reconstruction": 0.0, "kl_sample": 0.0}
    assert encoder.weights_at(warm) == pytest.approx(error_and_kl)
    assert encoder.weights_at(later) == pytest.approx(
        {**error_and_kl, **measured, "exp_reconstruction": 0.25, "exp_sample": 0.25}
    )
    assert generator.weights_at(warm) == pytest.approx({"reconstruction": 1e-3 * 0.4})
    assert generator.weights_at(later) == pytest.approx(
        {"reconstruction": 1e-3 * 0.4, "kl_reconstruction": 0.5e-3 * 0.2, "kl_sample": 0.5e-3 * 0.2}
    )


def test_encoder_and_posterior_move_together_and_mapping_and_generator_do() -> None:
    encoder, generator = built().updates(0)
    assert (encoder.trains, generator.trains) == (("encoder", "posterior"), ("mapping", "generator"))


def test_samples_are_mixed_and_reconstructions_never() -> None:
    plain, mixed = built(), built(mixing_probability=1.0)
    for role, network in plain.networks.items():
        mixed.networks[role].load_state_dict(network.state_dict())
    for index in (0, 1):
        without, with_mixing = (algorithm.updates(0)[index].loss(batch()) for algorithm in (plain, mixed))
        same = {name for name, term in without.items() if torch.equal(term, with_mixing[name])}
        assert "reconstruction" in same and "kl_reconstruction" in same
        assert "kl_sample" not in same


def test_the_hinge_of_fakes_gives_the_generator_no_gradient_through_the_fakes_of_the_encoders_update() -> None:
    algorithm = built()
    terms = algorithm.updates(0)[0].loss(batch())
    terms["kl_sample"].sum().backward()
    for role, network in algorithm.networks.items():
        reached = any(p.grad is not None and p.grad.any() for p in network.parameters())
        assert reached == (role in ("encoder", "posterior")), role


def test_an_image_has_its_own_noise_in_each_part_that_is_decoded_together() -> None:
    algorithm = built()
    codes = torch.randn(COUNT, 6)
    twice = algorithm.decode(algorithm.networks, codes.repeat(2, 1), batch())
    first, second = twice.chunk(2)
    torch.testing.assert_close(first, algorithm.decode(algorithm.networks, codes, batch()))
    assert not torch.allclose(first, second)
    alone = algorithm.decode(algorithm.networks, codes[1:2], batch(rows=slice(1, 2)))
    torch.testing.assert_close(first[1:2], alone)


def test_a_code_of_an_image_is_the_style_of_the_mean_of_its_posterior() -> None:
    algorithm = built()
    hand = ByHand(algorithm.networks, batch())
    mean, _ = hand.posterior(batch().images[0])
    torch.testing.assert_close(algorithm.embed(algorithm.networks, batch()), algorithm.networks["mapping"](mean))
    torch.testing.assert_close(algorithm.reconstruct(algorithm.networks, batch()), hand.image(mean))


def test_real_images_mix_with_coarse_styles_of_the_source_and_fine_ones_of_the_destination() -> None:
    algorithm = built()
    networks = algorithm.networks
    sources, destinations = batch("sources", rows=slice(0, 2)), batch("destinations", rows=slice(1, 4))
    mixed = algorithm.mix(networks, sources, destinations)
    assert mixed is not None and mixed.shape == (6, 3, 8, 8)
    coarse, fine = algorithm.embed(networks, sources)[1], algorithm.embed(networks, destinations)[2]
    styles = torch.stack([coarse, coarse, fine, fine]).expand(3, 4, 6)
    expected = algorithm.synthesis.decode(networks, styles, destinations)[2]
    torch.testing.assert_close(mixed[5], expected)
    coarsest = replace(LEVEL, index=0, resolution=4, blend=1.0)
    assert algorithm.mix(networks, batch(level=coarsest), batch(level=coarsest)) is None


def test_samples_are_truncated_towards_the_mean_style_that_is_followed() -> None:
    algorithm = built(w_mean_decay=0.0)
    mapping: Any = algorithm.networks["mapping"]
    algorithm.observe(batch("observe"), {})
    torch.testing.assert_close(mapping.w_mean, mapping(batch("observe").noise("z", 6)).mean(0))
    still = Sampling(truncation=0.0, noise="none")
    images = algorithm.generate(algorithm.networks, batch("evaluate"), still)
    torch.testing.assert_close(images[0], images[1])
    styles = latents.broadcast_styles(mapping.w_mean.expand(len(images), -1), layers_of(batch("evaluate")))
    decoded = algorithm.synthesis.decode(algorithm.networks, styles, batch("evaluate"), still)
    torch.testing.assert_close(decoded, images)


def test_the_posterior_has_the_official_size_and_begins_as_the_prior_where_its_weights_are_zero() -> None:
    full = StylePosterior(512, 0.1)
    assert sum(weight.numel() for weight in full.parameters()) == 2 * (512 * 512 + 512) + 1024 * 512 + 1024
    small = StylePosterior(6, 0.1)
    for weight in small.parameters():
        nn.init.zeros_(weight)
    mean, log_variance = small(torch.randn(3, 6))
    assert not mean.any() and not log_variance.any() and not kl((mean, log_variance)).any()


def test_a_log_variance_stays_within_its_bounds_and_means_may_have_either_sign() -> None:
    wild = StylePosterior(6, 1.0)
    mean, log_variance = wild(1e6 * torch.randn(50, 6))
    assert (log_variance.min(), log_variance.max()) == LOG_VARIANCE_BOUNDS
    # Because no activation follows the last layer, negative means are as large as positive ones.
    assert -3 < mean.max() / mean.min() < -1 / 3
    assert mean.dtype == log_variance.dtype == torch.float32


def test_the_config_is_watched_and_drawn_as_soft_intro_vae() -> None:
    config = style_soft_intro_vae.Config(loss=replace(LOSS, warmup_kimg=(7.0, 0.0)))
    assert {alarm.warmup_kimg for alarm in config.alarms()} == {(7.0, 0.0)}
    assert {"posterior_collapse", "encoder_saturated"} <= {alarm.name for alarm in config.alarms()}
    assert config.charts == {"KL": ("encoder/kl_real", "encoder/kl_reconstruction", "encoder/kl_sample")}
