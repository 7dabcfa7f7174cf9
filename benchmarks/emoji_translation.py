"""Trains a translator between two styles of the same emoji in one process and records its scores.

    python benchmarks/emoji_translation.py --preset emoji_noto2twemoji64_munit --data NOTO.zip TWEMOJI.zip --out OUT

Training uses the images without their pairs; a tenth of the names is held out, and only the scores use the pairs. Every
evaluation appends a line to OUT/curve.jsonl and rewrites OUT/to_a.png and OUT/to_b.png; a second start continues a stopped run.
All scores are of the averaged networks and documented in `Evaluation`.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from clocked_run import ClockedRun
from paired_emoji import PairedEmoji, Pixels, features, kernel_distance, read, translated
from PIL import Image
from torch import Tensor

from alae_core.algorithm import Batch
from alae_core.schedule import Level
from alae_core.state import TrainState
from pipelines import presets
from pipelines.experiment import Experiment
from pipelines.experiment.override import override
from pipelines.pictures import grids

SHOWN = 12
"""Held-out emoji on a page; its columns are the image, its translation, its true counterpart and its reconstruction."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Scores of the held-out tenth, each image translated once with a random style.

    kd_to_*: unbiased kernel distance x 1000 of EfficientNet-Lite0's features to the held-out images of that domain, over 100
    subsets of 100; l1_to_*: mean absolute difference from the true counterpart, for values in [-1, 1].
    """

    emoji: PairedEmoji
    level: Level
    out: Path

    def __call__(self, state: TrainState) -> dict[str, float]:
        scores: dict[str, float] = {}
        for to, name in enumerate("ab"):
            given, truth = self.emoji.test[1 - to], self.emoji.test[to]
            found = translated(given, lambda images, to=to: self.translate(state, images, to))
            distance = kernel_distance(self.emoji.test_features[to], features(found))
            scores[f"kd_to_{name}"] = 1000 * distance.value
            scores[f"l1_to_{name}"] = l1(found, truth)
            self._page(state, to, found)
        return scores

    def translate(self, state: TrainState, images: Tensor, to: int) -> Tensor:
        """Translations [n, C, R, R] of images of the other domain into domain `to`."""
        algorithm: Any = state.algorithm
        return algorithm.translate(state.ema, self.batch(images, 1 - to), to)

    def _page(self, state: TrainState, to: int, found: Pixels) -> None:
        algorithm: Any = state.algorithm
        given, truth = self.emoji.test[1 - to][:SHOWN], self.emoji.test[to][:SHOWN]
        again = translated(given, lambda images: algorithm.reconstruct(state.ema, self.batch(images, 1 - to), 1 - to))
        page = grids.sample_page(np.concatenate([given, found[:SHOWN], truth, again]), SHOWN)
        Image.fromarray(page).save(self.out / f"to_{'ab'[to]}.png")

    def batch(self, images: Tensor, domain: int, number: int = 0) -> Batch:
        """Batch of images [n, C, R, R] of a domain, with noise determined by `number`."""
        none = images[:0]
        pair = (images, none) if domain == 0 else (none, images)
        return Batch(images=pair, level=self.level, nimg=number, seed=0, rows=slice(0, len(images)), update="evaluate")


def l1(found: Pixels, truth: Pixels) -> float:
    """Mean absolute difference of uint8 images, in units of [-1, 1]."""
    return float(np.abs(found.astype(np.float64) - truth).mean() / 127.5)


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    experiment: Experiment = override(presets.load(arguments.preset), arguments.overrides)
    experiment.validate()
    emoji = read(*arguments.data)
    level = Level(index=0, resolution=64, blend=1.0, batch_size=64, lr=0.0)
    ClockedRun(
        experiment=experiment,
        pixels=emoji.train,
        out=arguments.out,
        every_kimg=arguments.every_kimg,
        evaluate=Evaluation(emoji=emoji, level=level, out=arguments.out),
    ).run()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", required=True, help="emoji_noto2twemoji64_munit or emoji_noto2twemoji64_nice_gan")
    parser.add_argument("--data", type=Path, nargs=2, required=True, metavar="ZIP", help="the same emoji in two styles")
    parser.add_argument("--out", type=Path, required=True, help="folder for the curve, the pages and the state")
    parser.add_argument("--every-kimg", type=float, default=4.0, help="thousand images between two lines of the curve")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("overrides", nargs="*", metavar="a.b=c", help="fields of the experiment")
    return parser.parse_intermixed_args()


if __name__ == "__main__":
    main()
