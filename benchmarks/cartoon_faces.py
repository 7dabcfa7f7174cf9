"""Trains a cartoon32 preset on drawn faces in one process, and records its CPU time and scores.

Every evaluation appends a line to OUT/curve.jsonl and rewrites the pages of images; a second start continues a stopped run. The
faces are a Parquet file with JPEG bytes ("image") and boolean attributes.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from clocked_run import ClockedRun
from labelled_images import LabelledImages, Pixels, halved, judge, read

from alae_core import images
from alae_core.algorithm import Sampling
from alae_core.state import TrainState
from pipelines import presets
from pipelines.evaluation.subject import Subject
from pipelines.experiment import Experiment
from pipelines.pictures import grids

SAMPLES = 2000
EVERY_KIMG = 15


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Scores and pages of a state's averaged networks."""

    experiment: Experiment
    faces: LabelledImages
    out: Path

    def __call__(self, state: TrainState) -> dict[str, float]:
        level = self.experiment.schedule.level_before(state.nimg)
        subject = Subject(algorithm=state.algorithm, networks=state.ema, level=level, channels=3, seed=0)
        held_out = halved(self.faces.held_out, level.resolution)
        self._pages(subject, held_out)
        if level.resolution < 8:
            return {"resolution": level.resolution}
        judged = judge(self.faces, level.resolution)
        generated = (images.to_uint8(part).numpy() for part in subject.samples(SAMPLES))
        scores = {"resolution": level.resolution, "fd_attributes2k": judged.distance(generated)}
        real = images.to_float(torch.from_numpy(held_out))
        reconstructed = subject.reconstruction(images.blend_with_coarser(real, level.blend))
        if reconstructed is not None:
            scores |= {
                "reconstruction_l1": float((reconstructed - real).abs().mean()),
                "attributes_kept": judged.kept(images.to_uint8(reconstructed).numpy()),
                "attributes_of_originals": judged.accuracy,
            }
        return scores

    def _pages(self, subject: Subject, held_out: Pixels) -> None:
        for title, sampling in (("samples", Sampling()), ("samples_truncated", Sampling(truncation=0.7))):
            parts = np.concatenate([images.to_uint8(part).numpy() for part in subject.samples(64, sampling)])
            self._write(title, grids.sample_page(parts))
        real = images.to_float(torch.from_numpy(held_out[:32]))
        reconstructed = subject.reconstruction(real)
        if reconstructed is None:
            return
        page = grids.reconstruction_page(held_out[:32], images.to_uint8(reconstructed).numpy())
        self._write("reconstructions", page)
        sources, destinations = subject.batch(0, 6, real[:6]), subject.batch(0, 6, real[6:12])
        mixed = subject.algorithm.mix(subject.networks, sources, destinations)
        if mixed is not None:
            self._write("mixing", grids.mixing_page(held_out[:6], held_out[6:12], images.to_uint8(mixed).numpy()))

    def _write(self, title: str, page: Pixels) -> None:
        (self.out / f"{self.experiment.name}_{title}.png").write_bytes(grids.png_bytes(page))


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    experiment, faces = presets.load(arguments.preset), read(arguments.data)
    evaluate = Evaluation(experiment=experiment, faces=faces, out=arguments.out)
    ClockedRun(
        experiment=experiment, pixels=faces.train, out=arguments.out, every_kimg=EVERY_KIMG, evaluate=evaluate
    ).run()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="cartoon_faces128.parquet")
    parser.add_argument("--preset", required=True, help="cartoon32_style_alae or cartoon32_stylegan")
    parser.add_argument("--out", type=Path, required=True, help="folder for the curve, the pages and the state")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
