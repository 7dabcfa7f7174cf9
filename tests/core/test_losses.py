"""Each loss against an independent formula of a few lines, or a closed form."""

import math

import torch

from alae_core import losses


def test_the_logistic_terms_are_the_cross_entropies_of_real_and_fake() -> None:
    logits = torch.tensor([-30.0, -1.5, 0.0, 0.3, 30.0], dtype=torch.float64)
    for term, sign in ((losses.logistic_real, 1), (losses.logistic_fake, -1)):
        expected = [-math.log(1 / (1 + math.exp(-sign * t))) for t in logits.tolist()]
        torch.testing.assert_close(term(logits), torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=1e-12)


def test_the_logistic_terms_stay_finite_for_extreme_logits() -> None:
    logits = torch.tensor([-1e4, 1e4])
    assert losses.logistic_real(logits).tolist() == [1e4, 0.0]
    assert losses.logistic_fake(logits).tolist() == [0.0, 1e4]


def test_r1_of_a_linear_discriminator_is_half_gamma_times_its_squared_norm() -> None:
    a = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    images = torch.randn(5, 3, 4, 4, dtype=torch.float64).requires_grad_()
    penalty = losses.r1_penalty((images * a).sum((1, 2, 3)) + 3, images, gamma=10.0)
    torch.testing.assert_close(penalty, torch.full((5,), 5.0, dtype=torch.float64) * a.square().sum())


def test_r1_is_taken_per_image_and_can_be_descended() -> None:
    scale = torch.tensor(2.0, requires_grad=True)
    images = torch.tensor([1.0, 3.0]).view(2, 1, 1, 1).requires_grad_()
    penalty = losses.r1_penalty(scale * images.square().sum((1, 2, 3)), images, gamma=1.0)
    assert penalty.tolist() == [8.0, 72.0]  # (2 s x)^2 / 2
    penalty.sum().backward()
    assert scale.grad is not None and scale.grad.item() == 80.0  # d/ds of 2 s^2 x^2, summed over both


def test_the_latent_loss_is_the_mean_over_dimensions_per_image() -> None:
    prediction = torch.tensor([[1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, 0.0]])
    target = torch.tensor([[1.0, 0.0, 0.0, 4.0], [0.0, 2.0, 0.0, 0.0]])
    assert losses.latent_l2(prediction, target).tolist() == [13 / 4, 1.0]


def test_a_fake_far_out_of_reach_has_no_gradient_rather_than_a_denormal_one() -> None:
    divergences = torch.tensor([10.0, 500.0], requires_grad=True)
    losses.exponential_elbo(torch.zeros(2), divergences, 1 / 3072, 1.0, 256.0).sum().backward()
    near, far = divergences.grad.tolist()  # type: ignore[union-attr]
    assert near < 0 and far == 0
