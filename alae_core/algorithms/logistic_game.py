"""Discriminator updates of the logistic GAN loss with R1, eager or lazy (Goodfellow et al. 2014; Mescheder et al. 2018)."""

from typing import Protocol

import torch
from torch import Tensor

from alae_core import losses
from alae_core.algorithm import Batch, Update
from alae_core.convolution import penalised


class R1(Protocol):
    """Fields of a LossConfig that `LogisticGame` reads."""

    @property
    def r1_gamma(self) -> float: ...
    @property
    def r1_every(self) -> int: ...


def check_r1_every(every: int) -> None:
    """Raise ValueError if the interval of R1 is below 1 iteration."""
    if every < 1:
        raise ValueError(f"algorithm.loss.r1_every={every}; give 1 (every iteration) or more")


class LogisticGame:
    """Updates of the networks that discriminate reals from fakes; an algorithm implements `_score` and `_fake`."""

    loss: R1

    def _score(self, images: Tensor, batch: Batch) -> Tensor:
        """Logits [n] of images [n, C, R, R]."""
        raise NotImplementedError

    def _fake(self, batch: Batch) -> Tensor:
        """Generated images [n, C, R, R] for training."""
        raise NotImplementedError

    def _critic_updates(self, trains: tuple[str, ...]) -> tuple[Update, ...]:
        """One update with R1 as a term; or for lazy R1 one update without it and a separate one for R1."""
        every = self.loss.r1_every
        if every == 1:
            return (Update(name="discriminator", trains=trains, loss=self._discriminator_with_r1, amp=False),)
        return (
            Update(name="discriminator", trains=trains, loss=self._discriminator),
            Update(name="penalty", trains=trains, loss=self._penalty, every=every, amp=False),
        )

    def _discriminator(self, batch: Batch) -> dict[str, Tensor]:
        # One pass for both halves the number of operations, which dominates at the coarse levels. Groups of images with
        # common batch statistics stay together.
        fake, real = self._score(torch.cat([self._frozen_fake(batch), batch.images[0]]), batch).chunk(2)
        # fake: softplus(D(sg[G(z)])), real: softplus(-D(x)) (Goodfellow et al. 2014, section 3)
        return {"fake": losses.logistic_fake(fake), "real": losses.logistic_real(real)}

    def _discriminator_with_r1(self, batch: Batch) -> dict[str, Tensor]:
        images, logits = self._penalised_logits(batch)
        return {
            # softplus(D(sg[G(z)])) (Goodfellow et al. 2014, section 3)
            "fake": losses.logistic_fake(self._score(self._frozen_fake(batch), batch)),
            # softplus(-D(x)) (Goodfellow et al. 2014, section 3)
            "real": losses.logistic_real(logits),
            # R1: gamma/2 ||grad_x D(x)||^2 (Mescheder et al. 2018, eq. 9)
            "r1": losses.r1_penalty(logits, images, self.loss.r1_gamma),
        }

    def _penalty(self, batch: Batch) -> dict[str, Tensor]:
        images, logits = self._penalised_logits(batch)
        # R1: gamma/2 ||grad_x D(x)||^2 (Mescheder et al. 2018, eq. 9), times k at every k-th iteration (StyleGAN2, appendix B)
        return {"r1": losses.r1_penalty(logits, images, self.loss.r1_gamma)}

    def _penalised_logits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Real images, and their logits with a graph to the images."""
        images = batch.images[0].detach().requires_grad_()
        with penalised():
            return images, self._score(images, batch)

    @torch.no_grad()
    def _frozen_fake(self, batch: Batch) -> Tensor:
        return self._fake(batch)
