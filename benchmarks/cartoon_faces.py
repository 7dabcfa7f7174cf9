"""Trains a cartoon32 preset on drawn faces in one process, counts its CPU time, and writes down what it learns.

Every evaluation appends a line to OUT/curve.jsonl and makes the pages of images anew; a second start goes on where the first
was stopped. The faces come as a Parquet file of JPEG bytes ("image") and boolean attributes.
"""

import argparse
import io
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from PIL import Image

from alae_core import images
from alae_core.algorithm import Sampling
from alae_core.engine import Metrics
from alae_core.fit import fit
from alae_core.metrics.classifier import Classifier, train_classifier
from alae_core.metrics.frechet import FeatureStatistics, frechet_distance
from alae_core.state import TrainState
from pipelines import presets
from pipelines.evaluation import figures
from pipelines.evaluation.subject import Subject
from pipelines.experiment import Experiment
from pipelines.worker import engine

Pixels = NDArray[np.uint8]
ATTRIBUTES = ("light_skin", "dark_hair", "glasses", "facial_hair")
"""Their 16 combinations are the classes of the classifier whose features are compared."""
HELD_OUT = 500
SAMPLES = 2000
EVERY_KIMG = 15


class Faces:
    """The faces at 32x32, held-out ones apart, and a classifier of their attributes at each resolution."""

    def __init__(self, path: Path) -> None:
        table = pq.read_table(path)
        pixels = np.stack([_decoded(data) for data in table["image"].to_pylist()])
        bits = [np.asarray(table[name].to_pylist(), np.int64) << place for place, name in enumerate(ATTRIBUTES)]
        self.labels = np.sum(bits, axis=0)
        self.train, self.held_out = pixels[:-HELD_OUT], pixels[-HELD_OUT:]
        self._classifiers: dict[int, tuple[Classifier, float, FeatureStatistics]] = {}

    def classifier(self, resolution: int) -> tuple[Classifier, float, FeatureStatistics]:
        """The classifier, its accuracy on held-out faces, and the features of all training faces."""
        if resolution not in self._classifiers:
            train, held_out = _halved(self.train, resolution), _halved(self.held_out, resolution)
            with torch.enable_grad():
                trained = train_classifier(train, self.labels[:-HELD_OUT], classes=2 ** len(ATTRIBUTES), seed=0)
            module = trained.module
            accuracy = float((_classes(module, held_out) == self.labels[-HELD_OUT:]).mean())
            statistics = FeatureStatistics(64)
            for part in np.array_split(train, 20):
                statistics.update(_features(module, part))
            self._classifiers[resolution] = (module, accuracy, statistics)
        return self._classifiers[resolution]


class Recorder:
    """Counts CPU time, averages the terms, and evaluates every so often."""

    def __init__(self, experiment: Experiment, faces: Faces, out: Path, cpu_s: float) -> None:
        self.experiment, self.faces, self.out = experiment, faces, out
        self.cpu_s, self._mark = cpu_s, time.process_time()
        self._sums: dict[str, tuple[float, int]] = {}

    def __call__(self, state: TrainState, metrics: Metrics) -> None:
        for name, value in metrics.items():
            total, count = self._sums.get(name, (0.0, 0))
            self._sums[name] = (total + float(value), count + 1)
        batch = self.experiment.schedule.level_before(state.nimg).batch_size
        if state.nimg // (1000 * EVERY_KIMG) > (state.nimg - batch) // (1000 * EVERY_KIMG):
            self.evaluate(state)

    def evaluate(self, state: TrainState) -> None:
        """Appends a line to the curve; the time it takes is not counted."""
        self.cpu_s += time.process_time() - self._mark
        terms = {name: total / count for name, (total, count) in self._sums.items()}
        self._sums = {}
        line = {"kimg": state.nimg / 1000, "cpu_s": round(self.cpu_s, 1), **terms, **self._scores(state)}
        with (self.out / "curve.jsonl").open("a") as curve:
            curve.write(json.dumps(line) + "\n")
        torch.save({"state": state.state_dict(), "cpu_s": self.cpu_s}, self.out / "state.pt")
        print(json.dumps({name: round(value, 4) for name, value in line.items()}), flush=True)
        self._mark = time.process_time()

    @torch.no_grad()
    def _scores(self, state: TrainState) -> dict[str, float]:
        level = self.experiment.schedule.level_before(state.nimg)
        subject = Subject(algorithm=state.algorithm, networks=state.ema, level=level, channels=3, seed=0)
        held_out = _halved(self.faces.held_out, level.resolution)
        self._pages(subject, held_out)
        if level.resolution < 8:
            return {"resolution": level.resolution}
        module, accuracy, reference = self.faces.classifier(level.resolution)
        generated = FeatureStatistics(64)
        for part in subject.samples(SAMPLES):
            generated.update(_features(module, images.to_uint8(part).numpy()))
        scores = {"resolution": level.resolution, "fd_attributes2k": frechet_distance(reference, generated)}
        real = images.to_float(torch.from_numpy(held_out))
        reconstructed = subject.reconstruction(images.blend_with_coarser(real, level.blend))
        if reconstructed is not None:
            again = images.to_uint8(reconstructed).numpy()
            truth = self.faces.labels[-HELD_OUT:]
            scores |= {
                "reconstruction_l1": float((reconstructed - real).abs().mean()),
                "attributes_kept": float((_classes(module, again) == truth).mean()),
                "attributes_of_originals": accuracy,
            }
        return scores

    def _pages(self, subject: Subject, held_out: Pixels) -> None:
        name = self.experiment.name
        for title, sampling in (("samples", Sampling()), ("samples_truncated", Sampling(truncation=0.7))):
            parts = np.concatenate([images.to_uint8(part).numpy() for part in subject.samples(64, sampling)])
            _write(self.out / f"{name}_{title}.png", figures.sample_page(parts))
        real = images.to_float(torch.from_numpy(held_out[:32]))
        reconstructed = subject.reconstruction(real)
        if reconstructed is None:
            return
        page = figures.reconstruction_page(held_out[:32], images.to_uint8(reconstructed).numpy())
        _write(self.out / f"{name}_reconstructions.png", page)
        sources, destinations = subject.batch(0, 6, real[:6]), subject.batch(0, 6, real[6:12])
        mixed = subject.algorithm.mix(subject.networks, sources, destinations)
        if mixed is not None:
            page = figures.mixing_page(held_out[:6], held_out[6:12], images.to_uint8(mixed).numpy())
            _write(self.out / f"{name}_mixing.png", page)


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    experiment = presets.load(arguments.preset)
    faces = Faces(arguments.data)
    arguments.out.mkdir(parents=True, exist_ok=True)
    state = TrainState.build(experiment.algorithm, experiment.seed, experiment.training.optimizer)
    cpu_s = 0.0
    if (arguments.out / "state.pt").exists():
        saved: dict[str, Any] = torch.load(arguments.out / "state.pt", weights_only=True)
        state.load_state_dict(saved["state"])
        cpu_s = saved["cpu_s"]
    recorder = Recorder(experiment, faces, arguments.out, cpu_s)
    fit(state, engine(experiment), faces.train, on_iteration=recorder)
    recorder.evaluate(state)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="cartoon_faces128.parquet")
    parser.add_argument("--preset", required=True, help="cartoon32_style_alae or cartoon32_stylegan")
    parser.add_argument("--out", type=Path, required=True, help="folder for the curve, the pages and the state")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def _decoded(data: bytes) -> Pixels:
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    return _halved(pixels[None], 32)[0]


def _halved(pixels: Pixels, resolution: int) -> Pixels:
    """uint8 [N, R, R, C], box-averaged down to `resolution`."""
    while pixels.shape[1] > resolution:
        pixels = images.box_halve(pixels)
    return pixels


@torch.no_grad()
def _features(module: Classifier, pixels: Pixels) -> torch.Tensor:
    return module.features(images.to_float(torch.from_numpy(pixels)))


@torch.no_grad()
def _classes(module: Classifier, pixels: Pixels) -> NDArray[np.int64]:
    parts = np.array_split(pixels, max(len(pixels) // 250, 1))
    return np.concatenate([module(images.to_float(torch.from_numpy(part))).argmax(1).numpy() for part in parts])


def _write(path: Path, page: Pixels) -> None:
    path.write_bytes(figures.png_bytes(page))


if __name__ == "__main__":
    main()
