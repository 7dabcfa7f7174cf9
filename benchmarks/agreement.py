"""Differences between each metric and another implementation of it, on the same seeded features or images.

    OMP_NUM_THREADS=2 python -m benchmarks.agreement

Needs the test extra. Prints a Markdown table in about a minute. Features are of Inception's size, with a decaying spectrum
and a common offset, so that rounding shows.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pytorch_msssim
import torch
from torch import Tensor

from alae_core.metrics.frechet import FeatureStatistics, frechet_distance
from alae_core.metrics.inception_score import LabelStatistics, inception_score
from alae_core.metrics.kernel import kernel_distance, kernel_distance_of_subsets
from alae_core.metrics.ms_ssim import ms_ssim
from alae_core.metrics.precision_recall import precision_recall
from alae_core.torchvision_import import torchvision

DIMENSION, REALS, GENERATED = 2048, 4000, 3000
Row = tuple[str, str, float, float]
"""Metric, the other, ours, theirs."""


def features(count: int, seed: int, shift: float) -> Tensor:
    """Random features, float32 [count, DIMENSION], not negative, like Inception's."""
    generator = torch.Generator().manual_seed(seed)
    scale = torch.logspace(0, -2, DIMENSION)
    drawn = torch.randn(count, DIMENSION, generator=generator) * scale
    return (drawn + 0.4 + shift * scale).clamp_min(0)


def statistics(rows: Tensor, parts: int = 7) -> FeatureStatistics:
    """Split into shards of uneven sizes and merge them again."""
    whole = FeatureStatistics(rows.shape[1])
    for part in rows.tensor_split(parts):
        own = FeatureStatistics(rows.shape[1])
        own.update(part)
        whole.merge(own)
    return whole


def nuclear(x: Tensor, y: Tensor) -> float:
    """Fréchet distance computed from the features in float64, with the trace of the root as a nuclear norm."""
    a, b = x.double().numpy(), y.double().numpy()
    a_centred = (a - a.mean(0)) / np.sqrt(len(a) - 1)
    b_centred = (b - b.mean(0)) / np.sqrt(len(b) - 1)
    norm = np.linalg.svd(a_centred @ b_centred.T, compute_uv=False).sum()
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + (a_centred**2).sum() + (b_centred**2).sum() - 2 * norm)


def frechet() -> Iterator[Row]:
    """Rows that compare FID with torch-fidelity in both precisions, and with the nuclear norm of fewer images."""
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

    x, y = features(REALS, 0, 0.0), features(GENERATED, 1, 0.1)
    ours = frechet_distance(statistics(x), statistics(y))
    for precision in (torch.float64, torch.float32):
        sides = [fid_features_to_statistics(part.to(precision)) for part in (x, y)]
        theirs = fid_statistics_to_metric(*sides, verbose=False)[KEY_METRIC_FID]
        yield "Fréchet distance", f"torch-fidelity, features as {str(precision).removeprefix('torch.')}", ours, theirs
    few, others = x[:1500], y[:1200]
    found = frechet_distance(statistics(few), statistics(others))
    yield "Fréchet distance, 1,500 and 1,200 rows", "nuclear norm in float64", found, nuclear(few, others)
    yield "Fréchet distance of a set from itself, over its trace", "zero", _own_distance(x), 0.0
    shards = frechet_distance(statistics(x, 1), statistics(y, 1))
    yield "Fréchet distance in 7 shards", "in one", ours, shards


def _own_distance(x: Tensor) -> float:
    return frechet_distance(statistics(x), statistics(x, 3)) / float(x.double().var(0).sum())


def kernels() -> Iterator[Row]:
    """Rows that compare with torch-fidelity in float64."""
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric

    x, y = (part[:1000].double() for part in (features(1000, 2, 0.0), features(1000, 3, 0.1)))
    theirs = kid_features_to_metric(y, x, kid_subsets=1, kid_subset_size=1000, verbose=False)[KEY_METRIC_KID_MEAN]
    yield "kernel distance, all pairs", "torch-fidelity, one subset of all", kernel_distance(x, y).value, theirs
    subsets = kernel_distance_of_subsets(x, y, subsets=1, subset_size=1000)
    yield "kernel distance of subsets", "torch-fidelity, the same subset", subsets.value, theirs


def neighbours() -> Iterator[Row]:
    """Rows that compare with torch-fidelity."""
    from torch_fidelity.metric_prc import calculate_precision_recall_full

    x, y = features(1500, 4, 0.0)[:, :64], features(1300, 5, 0.3)[:, :64]
    found = precision_recall(x, y, neighbours=3)
    precision, recall = calculate_precision_recall_full(y, x, 3)
    yield "precision, k = 3", "torch-fidelity", found.precision.value, float(precision)
    yield "recall, k = 3", "torch-fidelity", found.recall.value, float(recall)


def scores() -> Iterator[Row]:
    """Rows that compare with torch-fidelity."""
    from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, isc_features_to_metric

    logits = 3 * torch.randn(5000, 1008, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    parts = []
    for part in logits.softmax(1).split(500):
        parts.append(LabelStatistics(1008))
        parts[-1].update(part)
    theirs = isc_features_to_metric(logits, splits=10, shuffle=False)[KEY_METRIC_ISC_MEAN]
    yield "Inception score, 10 splits", "torch-fidelity", inception_score(parts).value, theirs


def similarities() -> Iterator[Row]:
    """Rows that compare MS-SSIM with pytorch-msssim in float64."""
    noise = torch.rand(2, 4, 3, 256, 256, generator=torch.Generator().manual_seed(7)) * 255
    a, b = torch.nn.functional.avg_pool2d(noise.flatten(0, 1), 5, 1, 2).round().byte().chunk(2)
    mixed = (0.7 * a + 0.3 * b).byte()
    theirs = pytorch_msssim.ms_ssim(a.double(), mixed.double(), data_range=255)
    yield "MS-SSIM, 256 px, 5 scales", "pytorch-msssim", float(ms_ssim(a, mixed).values.mean()), float(theirs)


def main() -> None:
    """Print the table."""
    torchvision()
    print("| metric | other | ours | other's | relative difference |\n| --- | --- | --- | --- | --- |")
    sources: tuple[Callable[[], Iterator[Row]], ...] = (frechet, kernels, neighbours, scores, similarities)
    for source in sources:
        for metric, other, ours, theirs in source():
            difference = abs(ours - theirs) / (abs(theirs) or 1.0)
            print(f"| {metric} | {other} | {ours:.10g} | {theirs:.10g} | {difference:.1e} |", flush=True)


if __name__ == "__main__":
    main()
