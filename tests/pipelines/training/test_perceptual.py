"""MUNIT's perceptual loss: its formula, the features from the user's weights, and the refusals."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from alae_core import losses
from alae_core.algorithms import munit
from alae_core.metrics import backbones
from pipelines import presets
from pipelines.experiment import Experiment
from pipelines.experiment.override import override
from pipelines.training import perceptual, preflight
from tests.pipelines.evaluation.test_pretrained import stored
from tests.support import tensors, tiny
from tests.support.packed import pack_two_domains

CPU = torch.device("cpu")


def experiment(*changes: str) -> Experiment:
    shrunk = presets.load("debug_edges2shoes256_munit")
    wide = ["algorithm.resolution=16", "schedule.resolutions=16", "algorithm.loss.vgg_w=2"]
    return override(tiny.brief(shrunk), [*wide, *changes])


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Random weights in torchvision's form."""
    generator = torch.Generator().manual_seed(0)
    state = {
        key: torch.randn(value.shape, generator=generator) * (2 / value[0].numel()) ** 0.5 if value.ndim > 1 else value
        for key, value in backbones.vgg16().state_dict().items()
    }
    return stored(tmp_path / "vgg16.pth", state)


def halved(images: Tensor) -> Tensor:
    return F.avg_pool2d(images, 2)


def test_the_loss_is_the_mean_square_of_features_whose_channels_are_normalised_in_each_image() -> None:
    a, b = torch.rand(2, 2, 5, 4, 4, dtype=torch.float64)
    by_hand = [
        ((x - x.mean()) / (x.var(correction=0) + 1e-5).sqrt() - (y - y.mean()) / (y.var(correction=0) + 1e-5).sqrt())
        for x, y in zip(a.flatten(0, 1), b.flatten(0, 1), strict=True)
    ]
    expected = torch.stack(by_hand).unflatten(0, (2, 5)).square().mean((1, 2, 3))
    torch.testing.assert_close(losses.perceptual(a, b), expected)
    torch.testing.assert_close(losses.perceptual(3 * a + 1, a), torch.zeros(2, dtype=a.dtype), atol=1e-4, rtol=0)


def test_each_translation_is_compared_with_its_source_image_and_moves_the_generators() -> None:
    state = tiny.build(experiment())
    algorithm = state.algorithm
    assert isinstance(algorithm, munit.MUNIT)
    seen: list[Tensor] = []
    algorithm.features = lambda images: (seen.append(images), halved(images))[1]
    (update,) = (u for u in algorithm.updates(0) if u.name == "generator")
    assert {name: update.weights[name] for name in ("vgg_a", "vgg_b")} == {"vgg_a": 2.0, "vgg_b": 2.0}
    before = tensors.networks_of(state)
    (metrics,) = tiny.train(state, experiment(), until=1)
    (real_a, fake_b), (real_b, fake_a) = seen[:2], seen[2:]
    for name, fake, real in (("vgg_b", fake_b, real_a), ("vgg_a", fake_a, real_b)):
        torch.testing.assert_close(
            metrics[f"generator/{name}"], losses.perceptual(halved(fake), halved(real)).mean().detach()
        )
    assert fake_a.requires_grad and not real_a.requires_grad
    other = tiny.build(override(experiment(), ["algorithm.loss.vgg_w=0"]))
    tiny.train(other, override(experiment(), ["algorithm.loss.vgg_w=0"]), until=1)
    assert tensors.differing(tensors.networks_of(other)["generator_a"], tensors.networks_of(state)["generator_a"])
    assert tensors.differing(before["generator_a"], tensors.networks_of(state)["generator_a"])


def test_the_users_weights_give_the_deepest_features_and_let_gradients_through(url: str) -> None:
    algorithm = tiny.build(experiment()).algorithm
    perceptual.give(algorithm, url, CPU)
    assert isinstance(algorithm, munit.MUNIT) and algorithm.features is not None
    images = torch.rand(2, 3, 32, 48, requires_grad=True)
    found = algorithm.features(images)
    assert found.shape == (2, 512, 2, 3) and found.min() >= 0
    (gradient,) = torch.autograd.grad(found.sum(), images)
    assert gradient.abs().sum() > 0


def test_algorithms_without_a_perceptual_loss_and_runs_without_weights_are_left_alone(url: str) -> None:
    other = tiny.build(tiny.brief(presets.load("debug_cat2dog256_nice_gan"))).algorithm
    perceptual.give(other, url, CPU)
    assert not hasattr(other, "features")
    own = tiny.build(experiment()).algorithm
    perceptual.give(own, None, CPU)
    assert isinstance(own, munit.MUNIT) and own.features is None


def test_without_features_the_loss_is_refused_in_a_sentence() -> None:
    with pytest.raises(
        RuntimeError, match=r"^algorithm\.loss\.vgg_w=2 needs the features of a VGG-16; set MUNIT\.features"
    ):
        tiny.train(tiny.build(experiment()), experiment(), until=1)


def test_a_weight_without_a_network_or_on_images_too_small_for_it_is_refused_on_the_driver(url: str) -> None:
    with pytest.raises(ValueError, match=r"vgg_w=2 needs the weights of a VGG-16; give training\.vgg16_weights=<path"):
        experiment().validate()
    small = ["algorithm.resolution=8", "schedule.resolutions=8", f"training.vgg16_weights={url}"]
    with pytest.raises(ValueError, match=r"vgg_w=2 compares images of 16 px or more, and algorithm\.resolution=8"):
        override(experiment(), small).validate()
    experiment(f"training.vgg16_weights={url}").validate()


def test_weights_that_are_not_there_are_refused_before_resources_are_taken(tmp_path: Path) -> None:
    pair = pack_two_domains(tmp_path, (12, 12), 16, validation_fraction=0.25)
    asked = experiment(f"data.path={pair}", "training.vgg16_weights=/none.pth", f"training.storage={tmp_path}/runs")
    asked = replace(asked, evaluation=replace(asked.evaluation, enabled=False))
    with pytest.raises(
        ValueError, match=r"^training\.vgg16_weights=/none\.pth does not exist; give the path or URL of vgg16"
    ):
        preflight.check(asked)
