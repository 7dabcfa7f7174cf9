"""Trains an IntroVAE, a Soft-IntroVAE or a VAE on small images in one process and records its scores.

    python benchmarks/intro_vae.py --preset mnist32_intro_vae --data mnist8k.npz --out OUT --minutes 20

--minutes compares methods at equal CPU time of the process without evaluations. Every evaluation appends a line to
OUT/curve.jsonl and rewrites the pages of images; a second start continues a stopped run. All scores are of the averaged networks
and documented in `Evaluation`.
"""

import argparse
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from clocked_run import ClockedRun
from labelled_images import AT_ONCE, LabelledImages, Pixels, halved, judge, read
from torch import Tensor

from alae_core import images
from alae_core.algorithms.introspection import Posterior
from alae_core.metrics import reconstruction
from alae_core.metrics.diversity import upper_reference
from alae_core.metrics.ms_ssim import ms_ssim
from alae_core.state import TrainState
from pipelines import presets
from pipelines.evaluation.subject import Subject
from pipelines.experiment import Experiment
from pipelines.experiment.override import override
from pipelines.pictures import curves, grids

SAMPLES = 2000
PAIRS = SAMPLES // 2
ACTIVE_VARIANCE = 0.01
"""Variance of a unit's posterior mean over the images, above which the unit is active (Burda et al. 2016, section 5)."""
ROWS, STEPS = 8, 8
"""Interpolations on their page, and steps of each."""
SMALLEST_PX = 8
"""Smallest side of images for the classifier and MS-SSIM."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Scores and pages of a state's averaged networks.

    fd2k: Fréchet distance of 2,000 samples to all training images, over features of a classifier of the set's labels.
    ms_ssim: mean over 1,000 disjoint pairs of samples; ms_ssim_real: over as many pairs of training images; three scales at
    32 px. reconstruction_*: scores of held-out images decoded from their posterior means: L1 for values in [-1, 1], PSNR of
    the mean squared error in dB, and the share that the classifier puts into the original's class. kl_*: mean KL in nats of
    held-out images, of their reconstructions and of as many samples. active_units: active units of held-out images' codes.
    """

    experiment: Experiment
    real: LabelledImages
    out: Path

    def __call__(self, state: TrainState) -> dict[str, float]:
        level = self.experiment.schedule.level_before(state.nimg)
        channels = self.real.pixels.shape[3]
        subject = Subject(algorithm=state.algorithm, networks=state.ema, level=level, channels=channels, seed=0)
        held_out = images.to_float(torch.from_numpy(halved(self.real.held_out, level.resolution)))
        held_out = images.blend_with_coarser(held_out, level.blend)
        samples = np.concatenate([images.to_uint8(part).numpy() for part in subject.samples(SAMPLES)])
        reconstructed = subject.reconstruction(held_out)
        assert reconstructed is not None
        self._pages(subject, held_out, reconstructed, samples)
        scores = {"resolution": level.resolution, **_of_codes(subject, held_out, reconstructed, samples)}
        scores |= _of_reconstructions(held_out, reconstructed)
        if level.resolution >= SMALLEST_PX:
            scores |= self._of_sets(samples, images.to_uint8(reconstructed).numpy())
        return scores

    def _of_sets(self, samples: Pixels, reconstructed: Pixels) -> dict[str, float]:
        judged = judge(self.real, samples.shape[1])
        pairs = torch.from_numpy(samples).permute(0, 3, 1, 2).unflatten(0, (PAIRS, 2))
        return {
            "fd2k": judged.distance(np.array_split(samples, 8)),
            "ms_ssim": float(ms_ssim(pairs[:, 0], pairs[:, 1]).values.mean()),
            "ms_ssim_real": _similarity_of_pairs(self.real, samples.shape[1]),
            "reconstruction_classes_kept": judged.kept(reconstructed),
            "originals_classes_kept": judged.accuracy,
        }

    def _pages(self, subject: Subject, held_out: Tensor, reconstructed: Tensor, samples: Pixels) -> None:
        originals = images.to_uint8(held_out).numpy()
        self._write("samples", grids.sample_page(samples[:64]))
        again = images.to_uint8(reconstructed).numpy()
        self._write("reconstructions", grids.reconstruction_page(originals[:32], again[:32]))
        between = images.to_uint8(_interpolated(subject, held_out[: 2 * ROWS])).numpy()
        left, right = originals[: 2 * ROWS : 2], originals[1 : 2 * ROWS : 2]
        rows = np.concatenate([between.reshape(ROWS, STEPS, *originals.shape[1:]), right[:, None]], 1)
        self._write("interpolations", grids.edited_page(left, rows.reshape(-1, *originals.shape[1:])))

    def chart(self, lines: list[dict[str, Any]]) -> None:
        """Draw the charts that the algorithm declares, from the lines of the curve."""
        algorithm: Any = self.experiment.algorithm
        for title, names in algorithm.charts.items():
            found = {name: {line["kimg"]: (line[name], None) for line in lines if name in line} for name in names}
            page = curves.chart_page(title, {name: curve for name, curve in found.items() if curve})
            self._write(title.lower(), page)

    def _write(self, title: str, page: Pixels) -> None:
        (self.out / f"{self.experiment.name}_{title}.png").write_bytes(grids.png_bytes(page))


def _of_codes(subject: Subject, held_out: Tensor, reconstructed: Tensor, samples: Pixels) -> dict[str, float]:
    fakes = images.to_float(torch.from_numpy(samples[: len(held_out)]))
    posteriors = {
        "real": _posteriors(subject, held_out),
        "reconstruction": _posteriors(subject, reconstructed),
        "sample": _posteriors(subject, fakes),
    }
    scores = {f"kl_{kind}": float(found.kl().mean()) for kind, found in posteriors.items()}
    return scores | {"active_units": int((posteriors["real"].mean.var(0) > ACTIVE_VARIANCE).sum())}


def _of_reconstructions(held_out: Tensor, reconstructed: Tensor) -> dict[str, float]:
    # PSNR for values in [-1, 1], whose range is 2.
    error = float(reconstruction.l2(held_out, reconstructed).mean())
    return {
        "reconstruction_l1": float(reconstruction.l1(held_out, reconstructed).mean()),
        "reconstruction_psnr": 10 * math.log10(4 / error),
    }


@cache
def _similarity_of_pairs(real: LabelledImages, resolution: int) -> float:
    """Mean MS-SSIM of random disjoint pairs of training images."""
    pixels = torch.from_numpy(halved(real.train, resolution)).permute(0, 3, 1, 2)
    return upper_reference(lambda rows: pixels[rows], len(pixels), _similarity, pairs=PAIRS).value


def _similarity(a: Tensor, b: Tensor) -> Tensor:
    return ms_ssim(a, b).values


def _posteriors(subject: Subject, content: Tensor) -> Posterior:
    """Mean MS-SSIM of disjoint pairs of images [n, C, R, R]."""
    algorithm: Any = subject.algorithm
    batches = [subject.batch(0, len(part), part) for part in content.split(AT_ONCE)]
    found = [algorithm.encode(subject.networks, batch.images[0], batch) for batch in batches]
    return Posterior(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def _interpolated(subject: Subject, real: Tensor) -> Tensor:
    """Linear interpolations between the posterior means of consecutive pairs of images: [n / 2 * STEPS, C, R, R]."""
    first, second = subject.encoded(subject.batch(0, len(real), real)).unflatten(0, (-1, 2)).unbind(1)
    along = torch.linspace(0, 1, STEPS).view(-1, 1)
    codes = torch.lerp(first[:, None], second[:, None], along).flatten(0, 1)
    return subject.decoded(codes, subject.batch(0, len(codes)))


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    experiment = override(presets.load(arguments.preset), arguments.overrides)
    experiment.validate()
    real = read(arguments.data, experiment.algorithm.resolution)
    evaluation = Evaluation(experiment=experiment, real=real, out=arguments.out)
    ClockedRun(
        experiment=experiment,
        pixels=real.train,
        out=arguments.out,
        every_kimg=arguments.every_kimg,
        evaluate=evaluation,
        after_line=evaluation.chart,
        cpu_minutes=arguments.minutes,
    ).run()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", required=True, help="such as mnist32_intro_vae or cartoon32_soft_intro_vae")
    parser.add_argument("--data", type=Path, required=True, help="mnist8k.npz or cartoon_faces128.parquet")
    parser.add_argument("--out", type=Path, required=True, help="folder for the curve, the pages and the state")
    parser.add_argument("--every-kimg", type=float, default=10.0, help="thousand images between two lines of the curve")
    parser.add_argument("--minutes", type=float, help="CPU time after which the run ends; default: its schedule's end")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("overrides", nargs="*", metavar="a.b=c", help="fields of the experiment")
    return parser.parse_intermixed_args()


if __name__ == "__main__":
    main()
