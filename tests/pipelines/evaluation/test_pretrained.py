"""Extractors with weights from a package or from the user's files, and errors for such files."""

import hashlib
import importlib.util
import io
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from alae_core.metrics import backbones
from alae_core.metrics.lpips import lpips
from alae_core.torchvision_import import torchvision
from pipelines.evaluation.features import pretrained, weights
from pipelines.evaluation.features.weights import INCEPTION, LPIPS_HEADS, VGG16

pytestmark = pytest.mark.slow


def pixels(count: int = 3, side: int = 20, channels: int = 3) -> Tensor:
    values = np.random.default_rng(0).integers(0, 256, (count, side, side, channels), np.uint8)
    return torch.from_numpy(values)


def stored(path: Path, state: object) -> str:
    """Save weights, and return the path with their SHA-256, as a user gives an unknown file."""
    torch.save(state, path)
    return f"{path}{weights.MARK}{hashlib.sha256(path.read_bytes()).hexdigest()}"


@pytest.fixture
def vgg16_url(tmp_path: Path) -> str:
    """Random weights in torchvision's format, with small hidden layers."""
    generator = torch.Generator().manual_seed(0)
    trunk = {
        key: torch.randn(value.shape, generator=generator) * (2 / value[0].numel()) ** 0.5 if value.ndim > 1 else value
        for key, value in backbones.vgg16().state_dict().items()
    }
    hidden = {
        "classifier.0.weight": torch.randn(10, 25088, generator=generator) / 158,
        "classifier.0.bias": torch.zeros(10),
        "classifier.3.weight": torch.randn(6, 10, generator=generator),
        "classifier.3.bias": torch.ones(6),
    }
    return stored(tmp_path / "vgg16.pth", {**trunk, **hidden})


def test_lite0_sees_structure_and_takes_grey_images_as_colour() -> None:
    extractor = pretrained.lite0()
    images = pixels(4, side=64)
    features = extractor(images)
    assert features.shape == (4, extractor.dimension) == (4, 1280)
    assert torch.equal(extractor(images), features)
    grey = images[..., :1]
    assert torch.equal(extractor(grey), extractor(grey.expand(-1, -1, -1, 3)))
    # With trained weights, blurring a photograph changes features less than replacing it by noise.
    y, x = torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 64), indexing="ij")
    disc = ((x**2 + y**2 < 0.5) * 200).to(torch.uint8)[None, :, :, None]
    shifted = disc.roll(2, 1)
    assert (extractor(disc) - extractor(shifted)).norm() < (extractor(disc) - extractor(images[:1])).norm() / 2


def test_lite0_s_weights_are_those_that_its_digest_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "LITE0_SHA256", "0" * 64)
    with pytest.raises(
        RuntimeError, match=r"efficientnet-lite0.*\.pth has the SHA-256 579344248a93e230.*install its package"
    ):
        pretrained.lite0.__wrapped__()


def test_a_package_that_is_not_installed_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(
        ValueError, match=r"efficientnet_lite_pytorch is not installed; run pip install 'alae\[metrics\]'"
    ):
        pretrained.lite0.__wrapped__()


def test_vgg16_s_features_are_torchvision_s_after_the_second_hidden_layer(vgg16_url: str) -> None:
    extractor = pretrained.vgg16(vgg16_url)
    state = torch.load(vgg16_url.partition("#")[0], weights_only=True)
    torchvision()
    from torchvision.models.vgg import cfgs, make_layers

    layers = make_layers(cfgs["D"])
    head = nn.Sequential(nn.Linear(25088, 10), nn.ReLU(), nn.Dropout(), nn.Linear(10, 6), nn.ReLU()).eval()
    network = nn.Module()
    network.features, network.classifier = layers, head
    network.load_state_dict(state)
    images = pixels(2, side=224)
    scaled = images.permute(0, 3, 1, 2) / 255
    normal = (scaled - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[
        :, None, None
    ]
    expected = head(layers(normal).flatten(1))
    assert extractor.dimension == 6
    assert expected.std() > 0
    torch.testing.assert_close(extractor(images), expected, rtol=1e-3, atol=1e-4)


def test_the_perceptual_distance_is_the_package_s_and_small_images_are_enlarged(vgg16_url: str, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    heads = {
        f"lin{k}.model.1.weight": torch.rand(1, c, 1, 1, generator=generator)
        for k, c in enumerate((64, 128, 256, 512, 512))
    }
    distance = pretrained.perceptual_distance(vgg16_url, stored(tmp_path / "heads.pth", heads))
    a, b = torch.rand(2, 2, 1, 4, 4, generator=generator) * 2 - 1
    large = [images.repeat_interleave(4, 2).repeat_interleave(4, 3) for images in (a, b)]
    torch.testing.assert_close(distance(a, b), distance(*large))
    assert (distance(a, b) > 0).all() and (distance(a, a) == 0).all()


def test_lite0_s_distance_is_that_of_its_maps_with_all_channels_alike() -> None:
    generator = torch.Generator().manual_seed(1)
    a, b = torch.rand(2, 3, 3, 32, 32, generator=generator) * 2 - 1
    network, _ = pretrained._lite0_network()
    last: dict[int, Tensor] = {}

    def keep(module: nn.Module, given: tuple[Tensor, ...], maps: Tensor) -> None:
        last[maps.shape[2]] = maps

    for block in network._blocks:
        block.register_forward_hook(keep)
    found = []
    for images in (a, b):
        network.extract_features(pretrained._lite0_inputs((images + 1) * 127.5))
        found.append([nn.functional.normalize(last[side], dim=1, eps=0) for side in (112, 56, 28, 14, 7)])
    expected = sum((x - y).square().sum(1).mean((1, 2)) for x, y in zip(*found, strict=True))
    distance = pretrained.lite0_distance()
    torch.testing.assert_close(distance(a, b), expected, rtol=1e-4, atol=1e-5)
    assert (distance(a, a) == 0).all() and distance.digest != pretrained.lite0().digest


def test_lite0_s_distance_takes_grey_images_as_colour_and_any_number_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "AT_ONCE", 2)
    a, b = torch.rand(2, 5, 1, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1
    distance = pretrained.lite0_distance()
    found = distance(a, b)
    assert found.shape == (5,) and (found > 0).all()
    torch.testing.assert_close(distance(a[:2].expand(-1, 3, -1, -1), b[:2].expand(-1, 3, -1, -1)), found[:2])


def test_alexnet_s_distance_takes_its_own_weights_and_heads(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    state = {
        key: torch.randn(value.shape, generator=generator) * (2 / value[0].numel()) ** 0.5 if value.ndim > 1 else value
        for key, value in backbones.alexnet().state_dict().items()
    }
    package = importlib.util.find_spec("lpips")
    assert package is not None and package.origin
    heads = str(Path(package.origin).parent / "weights/v0.1/alex.pth")
    distance = pretrained.alexnet_distance(stored(tmp_path / "alexnet.pth", state), heads)
    trunk = backbones.alexnet()
    trunk.load_torchvision(state)
    expected = lpips(trunk, backbones.lpips_heads(torch.load(heads, map_location="cpu", weights_only=True)))
    a, b = torch.rand(2, 2, 3, 32, 32, generator=generator) * 2 - 1
    torch.testing.assert_close(distance(a, b), expected(a, b))
    with pytest.raises(ValueError, match="the weights are another network's"):
        pretrained.alexnet_distance(stored(tmp_path / "other.pth", backbones.vgg16().state_dict()), heads)


def test_inception_s_features_and_classes_are_torch_fidelity_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torchvision()
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    empty = io.BytesIO()
    torch.save({}, empty)
    empty.seek(0)
    torch.manual_seed(0)
    with monkeypatch.context() as patch:
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        network = FeatureExtractorInceptionV3("inception", ["2048", "logits_unbiased"], empty)
    extractor = pretrained.inception(stored(tmp_path / "inception.pth", network.state_dict()))
    images = pixels(2, side=32)
    features, logits = network(images.permute(0, 3, 1, 2))
    assert features.std() > 0
    assert torch.equal(extractor(images), features)
    assert torch.equal(extractor.classes(images), logits.softmax(1))


def test_an_unknown_file_is_refused_until_its_sum_is_given_and_then_read(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    with_sum = stored(path, {"a": torch.ones(2)})
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(
        ValueError, match=rf"evaluation\.vgg16_weights={path} is not known .* SHA-256 is {digest}; give vgg16-"
    ):
        weights.read(VGG16, str(path))
    state, found = weights.read(VGG16, with_sum)
    assert torch.equal(state["a"], torch.ones(2)) and found == digest
    with pytest.raises(ValueError, match=f"has the SHA-256 {digest}, not 00; fetch it again"):
        weights.read(VGG16, f"{path}{weights.MARK}00")


def test_the_package_s_own_heads_are_known() -> None:
    package = importlib.util.find_spec("lpips")
    assert package is not None and package.origin
    path = Path(package.origin).parent / "weights/v0.1/vgg.pth"
    state, _ = weights.read(LPIPS_HEADS, str(path))
    assert [len(head) for head in backbones.lpips_heads(state)] == [64, 128, 256, 512, 512]


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("open('/proc/self/comm').read()",)


def test_files_that_hold_code_are_never_opened(tmp_path: Path) -> None:
    for name, state in (("pickle.pth", {"a": Malicious()}), ("nested.pth", {"a": {"b": torch.ones(1)}})):
        url = stored(tmp_path / name, state)
        with pytest.raises(ValueError, match=r"evaluation\.inception_weights=.* holds? no|is no file of tensors alone"):
            weights.read(INCEPTION, url)
    script = tmp_path / "script.pt"
    torch.jit.script(nn.Linear(1, 1)).save(str(script))
    url = f"{script}{weights.MARK}{hashlib.sha256(script.read_bytes()).hexdigest()}"
    with pytest.raises(
        ValueError, match=r"is TorchScript, which holds code, so it is not opened; give weights-inception"
    ):
        weights.read(INCEPTION, url)


def test_weights_of_another_network_are_refused(tmp_path: Path, vgg16_url: str) -> None:
    with pytest.raises(ValueError, match=r"evaluation\.inception_weights holds another network's weights"):
        pretrained.inception(stored(tmp_path / "a.pth", {"a": torch.ones(1)}))
    with pytest.raises(ValueError, match="the weights are another network's"):
        pretrained.vgg16(stored(tmp_path / "b.pth", {"a": torch.ones(1)}))
    state = torch.load(vgg16_url.partition("#")[0], weights_only=True)
    del state["classifier.0.weight"]
    with pytest.raises(ValueError, match=r"has no classifier\.0; give vgg16-397923af\.pth, the whole network"):
        pretrained.vgg16(stored(tmp_path / "c.pth", state))


def test_a_file_that_is_not_there_is_named_by_its_setting(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=rf"evaluation\.lpips_heads={tmp_path}/none does not exist; give the path or URL of"
    ):
        weights.read(LPIPS_HEADS, f"{tmp_path}/none")


def test_an_image_s_features_do_not_depend_on_its_neighbours_as_they_would_in_training_mode() -> None:
    extractor = pretrained.lite0()
    images = torch.cat([pixels(3, side=32), torch.zeros(3, 32, 32, 3, dtype=torch.uint8)])
    torch.testing.assert_close(extractor(images)[:1], extractor(images[:1]), rtol=1e-4, atol=1e-4)
