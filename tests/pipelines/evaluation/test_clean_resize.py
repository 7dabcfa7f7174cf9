"""Inception on images that are resized as in clean-fid."""

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from alae_core.metrics.protocol_names import parse
from alae_core.torchvision_import import torchvision
from pipelines.data.format.shards import Dataset
from pipelines.evaluation import plan
from pipelines.evaluation.evaluate import describe
from pipelines.evaluation.features import pretrained, weights
from pipelines.evaluation.features.extractor import Extractor
from pipelines.evaluation.features.pretrained import INCEPTION_SIDE
from pipelines.evaluation.subject import Subject
from pipelines.experiment import EvaluationConfig

pytestmark = pytest.mark.slow


def pixels(side: int, channels: int = 3) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, side, side, channels), np.uint8))


@pytest.fixture(scope="module")
def network() -> Any:
    """torch-fidelity's Inception with random weights."""
    torchvision()
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    empty = io.BytesIO()
    torch.save({}, empty)
    empty.seek(0)
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        return FeatureExtractorInceptionV3("inception", ["2048", "logits_unbiased"], empty)


@pytest.fixture(scope="module")
def stored(network: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Path and SHA-256 of the weights."""
    path: Path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(network.state_dict(), path)
    return str(path), hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def clean(stored: tuple[str, str]) -> Extractor:
    return pretrained.inception(weights.MARK.join(stored), clean=True)


def test_images_of_inception_s_own_side_are_not_changed_and_take_the_same_way(network: Any, clean: Extractor) -> None:
    images = pixels(INCEPTION_SIDE)[:1]
    features, logits = network(images.permute(0, 3, 1, 2))
    assert features.std() > 0
    torch.testing.assert_close(clean(images), features, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(clean.classes(images), logits.softmax(1), rtol=1e-5, atol=1e-7)


def test_other_images_have_other_features_under_a_digest_of_their_own(
    network: Any, clean: Extractor, stored: tuple[str, str]
) -> None:
    images = pixels(16)[:1]
    plain, _ = network(images.permute(0, 3, 1, 2))
    assert (clean(images) - plain).norm() > 1e-3 * plain.norm()
    assert clean.digest == f"{stored[1]} clean" and "not rounded" in clean.resize


@pytest.mark.parametrize("side", [16, 512])
def test_each_channel_is_resized_by_itself_without_rounding_and_kept_in_range(side: int) -> None:
    images = pixels(side)
    resized = pretrained._cleanly_resized(images)
    assert resized.shape == (2, 3, INCEPTION_SIDE, INCEPTION_SIDE) and resized.dtype == torch.float32
    channel = Image.fromarray(images[1, :, :, 2].numpy().astype(np.float32))
    expected = np.asarray(channel.resize((INCEPTION_SIDE, INCEPTION_SIDE), Image.Resampling.BICUBIC)).clip(0, 255)
    np.testing.assert_array_equal(resized[1, 2].numpy(), expected)
    assert resized.min() >= 0 and resized.max() <= 255 and (resized != resized.round()).any()


def test_downsizing_averages_over_all_pixels() -> None:
    stripes = torch.zeros(1, 4 * INCEPTION_SIDE, 4 * INCEPTION_SIDE, 1, dtype=torch.uint8)
    stripes[:, :, ::2] = 200
    inner = pretrained._cleanly_resized(stripes)[..., 2:-2, 2:-2]
    torch.testing.assert_close(inner, torch.full_like(inner, 100), atol=2.0, rtol=0)


def test_grey_images_are_taken_as_colour() -> None:
    grey = pixels(16, channels=1)
    assert torch.equal(pretrained._cleanly_resized(grey), pretrained._cleanly_resized(grey.expand(-1, -1, -1, 3)))


def test_a_name_with_clean_takes_the_clean_extractor(monkeypatch: pytest.MonkeyPatch, barred: Dataset) -> None:
    asked: list[bool] = []
    known = Extractor("inception", 0, 4, "digest", lambda images: torch.zeros(len(images), 4))
    monkeypatch.setattr(pretrained, "inception", lambda url, clean: asked.append(clean) or known)
    monkeypatch.setattr("pipelines.evaluation.requirements.check", lambda *_, **__: None)
    level: Any = type("Level", (), {"resolution": 8})()
    subject = Subject(
        algorithm=type("None", (), {"networks": {}, "domains": 1})(), networks={}, level=level, channels=1, seed=0
    )  # type: ignore[arg-type]
    planner = plan.Planner(subject, (barred,), EvaluationConfig(inception_weights="given"))
    planner.plan(["fid0.1k_clean", "fid0.1k", "kid0.1k_pairs_clean"])
    assert asked == [True, False]
    expected = "50,000 samples, features of inception, cleanly resized, against the whole train split"
    assert describe(parse("fid50k_full_clean")) == expected
