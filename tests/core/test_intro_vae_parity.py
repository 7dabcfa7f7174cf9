"""IntroVAE's two separate steps against the official code's single graph, written in plain torch."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from alae_core.algorithm import Batch
from alae_core.algorithms import intro_vae
from alae_core.engine import Engine
from alae_core.images import to_float
from alae_core.optim import AdamConfig
from alae_core.schedule import ProgressiveSchedule
from alae_core.state import TrainState
from tests.support.tensors import float64

COUNT, SIZE, LATENT, LR, EPS = 4, 8, 5, 1e-2, 1e-2
# An epsilon as large as the gradients, so that Adam's first steps depend on their lengths, not only on their signs.
ADAM = AdamConfig(beta1=0.9, beta2=0.999, eps=EPS)
SCHEDULE = ProgressiveSchedule(resolutions=(SIZE,), stable_kimg=(1.0,), batch_size=(COUNT,), lr=(LR,))
LOSS = intro_vae.LossConfig(
    reconstruction_weight=0.3, kl_weight=0.7, negative_weight=0.6, margin=(3.0,), warmup_kimg=(0.0,)
)
CONFIG = intro_vae.Config(
    resolution=SIZE, latent=LATENT, base_channels=4, max_channels=8, group=COUNT, norm="batch", loss=LOSS
)


class Adam:
    """Adam as in algorithm 1 of Kingma and Ba."""

    def __init__(self, network: nn.Module) -> None:
        self.parameters = list(network.parameters())
        self.first = [torch.zeros_like(p) for p in self.parameters]
        self.second = [torch.zeros_like(p) for p in self.parameters]
        self.steps = 0

    @torch.no_grad()
    def step(self, gradients: list[Tensor]) -> None:
        self.steps += 1
        for p, m, v, g in zip(self.parameters, self.first, self.second, gradients, strict=True):
            m.mul_(0.9).add_(0.1 * g)
            v.mul_(0.999).add_(0.001 * g * g)
            corrected = v / (1 - 0.999**self.steps)
            p.sub_(LR * (m / (1 - 0.9**self.steps)) / (corrected.sqrt() + EPS))


def kl(codes: tuple[Tensor, Tensor]) -> Tensor:
    """The batch mean of the Kullback-Leibler divergence from the prior."""
    mean, log_variance = codes
    return (mean**2 + torch.exp(log_variance) - 1 - log_variance).sum(1).mean() / 2


def official_iteration(
    networks: Any, adams: dict[str, Adam], real: Tensor, eps: Tensor, z_p: Tensor, loss: Any, old_encoder: bool = False
) -> None:
    """The official iteration: a forward pass of the reals, and the steps of encoder and generator on its graph."""
    encoder, generator = networks["encoder"], networks["generator"]
    mean, log_variance = encoder(real, 1)
    rec, fake = generator(mean + torch.exp(log_variance / 2) * eps, 1), generator(z_p, 1)
    error = loss.reconstruction_weight * ((real - rec) / 2).square().sum((1, 2, 3)).mean()
    hinges = sum(torch.relu(loss.margin[0] - kl(encoder(image.detach(), 1))) for image in (rec, fake))
    of_encoder = error + loss.kl_weight * (kl((mean, log_variance)) + 0.5 * loss.negative_weight * hinges)
    gradients = torch.autograd.grad(of_encoder, adams["encoder"].parameters, retain_graph=True)
    # The encoder's backward pass also fills the generator's gradients, which the official code does not clear.
    left = torch.autograd.grad(error, adams["generator"].parameters, retain_graph=True)
    judge = copy.deepcopy(encoder) if old_encoder else encoder
    adams["encoder"].step(list(gradients))
    play = loss.generator_weight * loss.kl_weight * (kl(judge(rec, 1)) + kl(judge(fake, 1)))
    own = torch.autograd.grad(play, adams["generator"].parameters, allow_unused=True)
    adams["generator"].step([a if b is None else a + b for a, b in zip(left, own, strict=True)])


def distance_after(iterations: int, config: intro_vae.Config, **official: Any) -> float:
    """The largest difference of a weight between the engine's training and the official one, from equal weights."""
    with float64():
        state = TrainState.build(config, 0, ADAM)
        networks: Any = copy.deepcopy(state.algorithm.networks)
        adams = {role: Adam(network) for role, network in networks.items()}
        for number in range(iterations):
            generator = torch.Generator().manual_seed(number)
            pixels = torch.randint(0, 256, (COUNT, SIZE, SIZE, 3), generator=generator, dtype=torch.uint8)
            real = to_float(pixels).double()
            of = Batch(
                images=(real,),
                level=SCHEDULE.level_at(state.nimg),
                nimg=state.nimg,
                seed=0,
                rows=slice(0, COUNT),
                update="codes",
            )
            noise = [of.noise(name, LATENT) for name in ("posterior", "prior")]
            official_iteration(networks, adams, real, *noise, config.loss, **official)
            Engine(schedule=SCHEDULE).train_iteration(state, (pixels,))
        pairs = [
            (own, networks[role].get_parameter(name))
            for role, network in state.algorithm.networks.items()
            for name, own in network.named_parameters()
        ]
        return max(float((own - other).detach().abs().max()) for own, other in pairs)


@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize("margin", [0.05, 3.0, 100.0])
def test_two_clean_steps_are_the_official_update_whether_the_hinges_push_or_not(norm: Any, margin: float) -> None:
    config = replace(CONFIG, norm=norm, loss=replace(LOSS, margin=(margin,)))
    assert distance_after(3, config) < 1e-6


def test_without_its_adversarial_weights_the_update_is_a_plain_vae_s() -> None:
    assert distance_after(3, replace(CONFIG, loss=replace(LOSS, negative_weight=0.0, generator_weight=0.0))) < 1e-6


def test_the_comparison_detects_an_encoder_used_before_instead_of_after_its_step() -> None:
    assert distance_after(1, CONFIG, old_encoder=True) > 1e-5
