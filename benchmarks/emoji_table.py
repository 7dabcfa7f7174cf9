"""Scores translators of emoji and baselines without training on the held-out tenth, and prints the table.

    python benchmarks/emoji_table.py --data NOTO.zip TWEMOJI.zip MUNIT_OUT NICE_GAN_OUT

The folders are those of emoji_translation.py. For each direction: kd, the kernel distance x 1000 of Lite0's features to the
held-out images (100 subsets of 100); and the distance from the true counterpart, as l1 in units of [-1, 1] and, of the first
100, as distance of Lite0's feature maps. `nearest` is the training image of that domain with the least squares to the input;
`truth at 32 px` are the counterparts themselves at half their resolution; `reals` are as many training images of that domain,
which have no counterpart.
"""

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from emoji_translation import Evaluation, l1
from paired_emoji import AT_ONCE, PairedEmoji, Pixels, features, kernel_distance, read, translated
from torch import Tensor

from alae_core import images
from alae_core.box_average import box_halve
from alae_core.metrics.diversity import diversity, upper_reference
from alae_core.schedule import Level
from alae_core.state import TrainState
from pipelines.evaluation.features.pretrained import lite0_distance
from pipelines.experiment import Experiment

PAIRS_SEEN = 100
"""Number of held-out pairs, from the first on, whose feature maps are compared."""
INPUTS, STYLES, PAIRS = 25, 8, 19
LEVEL = Level(index=0, resolution=64, blend=1.0, batch_size=AT_ONCE, lr=0.0)


def perceptual(found: Pixels, truth: Pixels) -> float:
    """Mean distance of Lite0's feature maps over the first pairs."""
    return float(lite0_distance()(_floats(found[:PAIRS_SEEN]), _floats(truth[:PAIRS_SEEN])).mean())


def rivals(emoji: PairedEmoji, to: int) -> dict[str, Pixels]:
    """Baselines without training for each held-out image of the other domain."""
    given, known = emoji.test[1 - to], emoji.train[to]
    mean = np.broadcast_to(known.mean(0).round().astype(np.uint8), given.shape)
    flat, wanted = (torch.from_numpy(pixels.reshape(len(pixels), -1)).float() for pixels in (known, given))
    # Without the squared length of the input, which is the same for all.
    nearest = (flat.square().sum(1) - 2 * wanted @ flat.T).argmin(1).numpy()
    halved = box_halve(emoji.test[to]).repeat(2, axis=1).repeat(2, axis=2)
    return {
        "identity": given,
        "mean image": mean,
        "nearest": known[nearest],
        "truth at 32 px": halved,
        "reals": known[: len(given)],
    }


def trained(folder: Path) -> tuple[str, TrainState]:
    """Kind and state of the run in a folder."""
    experiment = Experiment.from_json((folder / "experiment.json").read_text())
    state = TrainState.build(experiment.algorithm, experiment.seed, experiment.training.optimizer)
    state.load_state_dict(torch.load(folder / "state.pt", weights_only=True)["state"])
    return experiment.algorithm.kind, state


@torch.no_grad()
def rows(emoji: PairedEmoji, folders: list[Path]) -> Iterator[str]:
    """Lines of the table."""
    yield "| to | what | kd x 1000 | of identity | l1 | perceptual |"
    yield "|---|---|---|---|---|---|"
    runs = [(folder, *trained(folder)) for folder in folders]
    for to, name in enumerate(("noto", "twemoji")):
        found: dict[str, Pixels] = rivals(emoji, to)
        for folder, kind, state in runs:
            evaluation = Evaluation(emoji=emoji, level=LEVEL, out=folder)
            found[kind] = translated(emoji.test[1 - to], partial(_translate, evaluation, state, to))
        base = kernel_distance(emoji.test_features[to], emoji.test_features[1 - to]).value
        for what, pixels in found.items():
            distance = kernel_distance(emoji.test_features[to], features(pixels))
            paired = (
                "| |"
                if what == "reals"
                else f"| {l1(pixels, emoji.test[to]):.3f} | {perceptual(pixels, emoji.test[to]):.3f}"
            )
            error = 1000 * (distance.standard_error or 0.0)
            yield f"| {name} | {what} | {1000 * distance.value:.1f} ± {error:.1f} | {distance.value / base:.2f} {paired} |"
    for _, kind, state in runs:
        if kind == "munit":
            yield from _of_styles(emoji, state)


def _translate(evaluation: Evaluation, state: TrainState, to: int, given: Tensor) -> Tensor:
    return evaluation.translate(state, given, to)


def _of_styles(emoji: PairedEmoji, state: TrainState) -> Iterator[str]:
    """Diversity of translations of one input by drawn styles, and of random real images."""
    algorithm: Any = state.algorithm
    evaluation = Evaluation(emoji=emoji, level=LEVEL, out=Path())
    yield ""
    for to, name in enumerate(("noto", "twemoji")):
        given = _floats(emoji.test[1 - to][:INPUTS])

        def outputs(given: Tensor = given, to: int = to) -> Iterator[Tensor]:
            for number in range(INPUTS):
                batch = evaluation.batch(given[number : number + 1], 1 - to, number)
                yield algorithm.translate(state.ema, batch, to, count=STYLES)

        spread = diversity(outputs(), lite0_distance(), pairs=PAIRS)
        reals = upper_reference(
            lambda numbers, to=to: _floats(emoji.test[to][numbers.numpy()]), emoji.held, lite0_distance(), pairs=100
        )
        yield f"munit to {name}: diversity {spread}, of random real images {reals}"


def _floats(pixels: Pixels) -> Tensor:
    return images.to_float(torch.from_numpy(np.ascontiguousarray(pixels)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs=2, required=True, metavar="ZIP", help="the same emoji in two styles")
    parser.add_argument("folders", type=Path, nargs="+", help="of emoji_translation.py")
    arguments = parser.parse_args()
    for line in rows(read(*arguments.data), arguments.folders):
        print(line, flush=True)


if __name__ == "__main__":
    main()
