"""The discriminator's side of the logistic game with R1 (Goodfellow et al. 2014; Mescheder et al. 2018), eager or lazy."""

from typing import Protocol

import torch
from torch import Tensor

from alae_core import losses
from alae_core.algorithm import Batch, Update
from alae_core.convolution import penalised


class R1(Protocol):
    """What of a LossConfig the game reads."""

    @property
    def r1_gamma(self) -> float: ...
    @property
    def r1_every(self) -> int: ...


def check_r1_every(every: int) -> None:
    """Raise ValueError unless R1 is taken at every iteration or at every k-th."""
    if every < 1:
        raise ValueError(f"algorithm.loss.r1_every={every}; give 1 (every iteration) or more")


class LogisticGame:
    """Updates of the networks that tell reals from fakes; an algorithm says what `_score` and `_fake` are."""

    loss: R1

    def _score(self, images: Tensor, batch: Batch) -> Tensor:
        """Logits [n] of images [n, C, R, R]."""
        raise NotImplementedError

    def _fake(self, batch: Batch) -> Tensor:
        """Generated images [n, C, R, R] that train."""
        raise NotImplementedError

    def _critic_updates(self, trains: tuple[str, ...]) -> tuple[Update, ...]:
        """One with R1 as a term; or, where R1 is lazy, one without it and R1 as an update of its own."""
        every = self.loss.r1_every
        if every == 1:
            return (Update(name="discriminator", trains=trains, loss=self._discriminator_with_r1, amp=False),)
        return (
            Update(name="discriminator", trains=trains, loss=self._discriminator),
            Update(name="penalty", trains=trains, loss=self._penalty, every=every, amp=False),
        )

    def _discriminator(self, batch: Batch) -> dict[str, Tensor]:
        # One pass for both: half as many operations on images, which is what counts at the coarse levels. Groups of images
        # that see each other stay whole.
        fake, real = self._score(torch.cat([self._frozen_fake(batch), batch.images[0]]), batch).chunk(2)
        return {"fake": losses.logistic_fake(fake), "real": losses.logistic_real(real)}

    def _discriminator_with_r1(self, batch: Batch) -> dict[str, Tensor]:
        images, logits = self._penalised_logits(batch)
        return {
            "fake": losses.logistic_fake(self._score(self._frozen_fake(batch), batch)),
            "real": losses.logistic_real(logits),
            "r1": losses.r1_penalty(logits, images, self.loss.r1_gamma),
        }

    def _penalty(self, batch: Batch) -> dict[str, Tensor]:
        images, logits = self._penalised_logits(batch)
        return {"r1": losses.r1_penalty(logits, images, self.loss.r1_gamma)}

    def _penalised_logits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The real images, and their logits with a graph to them."""
        images = batch.images[0].detach().requires_grad_()
        with penalised():
            return images, self._score(images, batch)

    @torch.no_grad()
    def _frozen_fake(self, batch: Batch) -> Tensor:
        return self._fake(batch)
