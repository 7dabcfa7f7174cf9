"""LPIPS against the package lpips with seeded weights, and against the plain formula."""

import warnings
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from alae_core.metrics.backbones import Backbone, alexnet, lpips_heads, lpips_inputs, vgg16
from alae_core.metrics.lpips import PerceptualDistance, lpips
from alae_core.torchvision_import import torchvision

pytestmark = pytest.mark.slow

NETWORKS = {"vgg": vgg16, "alex": alexnet}


@pytest.fixture(scope="module")
def package() -> ModuleType:
    """The package lpips, with a VGG16 that lacks the 120 million parameters that lpips does not use."""
    models = torchvision().models
    import lpips

    features = models.vgg.make_layers(models.vgg.cfgs["D"], batch_norm=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "vgg16", lambda pretrained: SimpleNamespace(features=features))
        yield lpips


def seeded(backbone: Backbone) -> Backbone:
    generator = torch.Generator().manual_seed(0)
    state = {
        key: torch.empty_like(value).normal_(0, (2 / max(value[0].numel(), 9)) ** 0.5, generator=generator)
        for key, value in backbone.state_dict().items()
    }
    backbone.load_torchvision({**state, "classifier.0.weight": torch.zeros(1)})
    return backbone


def heads(package: ModuleType, name: str) -> list[Tensor]:
    file = Path(package.__file__).parent / "weights" / "v0.1" / f"{name}.pth"
    return lpips_heads(torch.load(file, map_location="cpu", weights_only=True))


def theirs(package: ModuleType, name: str, backbone: Backbone, *, trained_heads: bool) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchvision warns about an argument that lpips passes
        network = package.LPIPS(net=name, pnet_rand=True, lpips=trained_heads, verbose=False)
    weights = list(backbone.state_dict().values())
    network.net.load_state_dict(dict(zip(network.net.state_dict(), weights, strict=True)))
    return network


def pair(side: int) -> tuple[Tensor, Tensor]:
    a, b = torch.rand(2, 2, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return a, torch.lerp(a, b, 0.2)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("trained_heads", [True, False])
@torch.no_grad()
def test_distances_equal_those_of_the_package_with_the_same_weights(package, name, trained_heads) -> None:
    backbone = seeded(NETWORKS[name]())
    if trained_heads:
        ours = lpips(backbone, heads(package, name))
    else:
        ours = PerceptualDistance(lambda images: backbone(lpips_inputs(images)))
    a, b = pair(48)
    expected = theirs(package, name, backbone, trained_heads=trained_heads)(a, b).flatten()
    assert (expected > 1e-3).all()
    torch.testing.assert_close(ours(a, b), expected, rtol=1e-5, atol=0)


def test_the_distance_is_the_weighted_squared_difference_of_unit_channels_averaged_over_places() -> None:
    a, b = pair(4)
    weights = [torch.tensor([0.5, 2.0, 1.0]), torch.tensor([1.0, 0.0, 3.0])]
    found = PerceptualDistance(lambda x: [x, x[:, :, ::2].exp()], weights)(a, b)
    for n in range(2):
        expected = 0.0
        for f, w in ((lambda x: x, weights[0]), (lambda x: x[:, ::2].exp(), weights[1])):
            places = zip(f(a[n]).flatten(1).T, f(b[n]).flatten(1).T, strict=True)
            expected += float(torch.stack([w @ (x / x.norm() - y / y.norm()) ** 2 for x, y in places]).mean())
        assert float(found[n]) == pytest.approx(expected, rel=1e-5)


def test_equal_images_have_no_distance_also_where_features_are_zero() -> None:
    a = torch.zeros(2, 3, 4, 4)
    assert PerceptualDistance(lambda x: [x])(a, a).tolist() == [0.0, 0.0]


@torch.no_grad()
def test_grey_images_are_compared_as_colour_images_of_equal_channels() -> None:
    distance = PerceptualDistance(lambda x: [lpips_inputs(x)])
    a, b = (part[:, :1] for part in pair(8))
    torch.testing.assert_close(distance(a, b), distance(a.expand(-1, 3, -1, -1), b.expand(-1, 3, -1, -1)))


@pytest.mark.parametrize(
    ("build", "channels"), [(vgg16, [64, 128, 256, 512, 512]), (alexnet, [64, 192, 384, 256, 256])]
)
def test_backbones_are_torchvision_s_in_names_and_shapes_and_give_rectified_features(build, channels) -> None:
    backbone = build()
    models = torchvision().models
    with torch.device("meta"):
        layers = models.vgg.make_layers(models.vgg.cfgs["D"]) if build is vgg16 else models.AlexNet().features
    expected = layers.state_dict()
    own = backbone.features.state_dict()
    assert {key: value.shape for key, value in own.items()} == {key: value.shape for key, value in expected.items()}
    smallest = backbone.smallest_side
    maps = backbone(torch.randn(1, 3, smallest, smallest + 5, generator=torch.Generator().manual_seed(0)))
    assert [features.shape[1] for features in maps] == channels
    assert all((features >= 0).all() for features in maps)
    with pytest.raises(ValueError, match=f"are too small for this backbone; enlarge them to {smallest} px"):
        backbone(torch.zeros(1, 3, smallest - 1, 64))


def test_weights_of_another_network_are_refused_with_what_is_missing() -> None:
    with pytest.raises(
        ValueError,
        match=r"another network's: \['features.3.bias', .* missing, \['features.12.bias', .* give torchvision's file",
    ):
        alexnet().load_torchvision(vgg16().state_dict())
    wrong = alexnet().state_dict()
    wrong["features.0.bias"] = torch.zeros(63)
    with pytest.raises(ValueError, match="or of other shapes"):
        alexnet().load_torchvision(wrong)


def test_heads_of_another_form_or_another_backbone_are_refused(package) -> None:
    with pytest.raises(ValueError, match=r"keys \['other'\], expected \['lin0.model.1.weight'\]"):
        lpips_heads({"other": torch.zeros(3)})
    with pytest.raises(ValueError, match="negative weights"):
        lpips_heads({"lin0.model.1.weight": -torch.ones(1, 3, 1, 1)})
    with pytest.raises(ValueError, match=r"\[64, 192, 384, 256, 256\] channels do not fit features of \[3\]"):
        PerceptualDistance(lambda x: [x], heads(package, "alex"))(*pair(4))
    with pytest.raises(ValueError, match="cannot be compared"):
        PerceptualDistance(lambda x: [x])(torch.zeros(1, 3, 4, 4), torch.zeros(2, 3, 4, 4))
