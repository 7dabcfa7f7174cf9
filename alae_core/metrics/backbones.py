"""The convolutions of VGG16 and AlexNet, with their features at the layers that LPIPS compares.

Parameters have torchvision's names, so its weight files load. The networks are built here because only their convolutions
are needed.
"""

from collections.abc import Mapping

from torch import Tensor, nn


class Backbone(nn.Module):
    """Stack of layers that returns features at several depths; in evaluation mode, with frozen weights."""

    def __init__(self, layers: list[nn.Module], taps: tuple[int, ...], smallest_side: int) -> None:
        super().__init__()
        self.features = nn.Sequential(*layers)
        self.taps = taps
        self.smallest_side = smallest_side
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Features [N, C_l, H_l, W_l] at each tap, for images [N, 3, H, W] in the normalisation of the weights.

        Raises ValueError if the images are too small for the last tap.
        """
        if min(images.shape[2:]) < self.smallest_side:
            raise ValueError(
                f"images of {images.shape[2]}x{images.shape[3]} px are too small for this backbone; enlarge them to "
                f"{self.smallest_side} px or more"
            )
        maps = []
        for place, layer in enumerate(self.features):
            images = layer(images)
            if place in self.taps:
                maps.append(images)
        return maps

    def load_torchvision(self, state: Mapping[str, Tensor]) -> None:
        """Load the weights of a torchvision state dict, without its `classifier`.

        Raises ValueError if its keys or shapes are those of another network.
        """
        own = {key: value for key, value in state.items() if not key.startswith("classifier.")}
        expected = self.state_dict()
        if {key: value.shape for key, value in own.items()} != {key: value.shape for key, value in expected.items()}:
            missing, extra = sorted(expected.keys() - own.keys()), sorted(own.keys() - expected.keys())
            raise ValueError(
                f"the weights are another network's: {missing[:3] or 'none'} missing, {extra[:3] or 'none'} unknown, or of "
                "other shapes; give torchvision's file of this network"
            )
        self.load_state_dict(own)


def vgg16() -> Backbone:
    """VGG16's 13 convolutions with taps at relu1_2, 2_2, 3_3, 4_3 and 5_3, of 64, 128, 256, 512 and 512 channels."""
    layers: list[nn.Module] = []
    channels = 3
    for width, depth in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        if layers:
            layers.append(nn.MaxPool2d(2))
        for _ in range(depth):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
    return Backbone(layers, taps=(3, 8, 15, 22, 29), smallest_side=16)


def alexnet() -> Backbone:
    """AlexNet's 5 convolutions with a tap after each ReLU, of 64, 192, 384, 256 and 256 channels."""
    layers: list[nn.Module] = [
        *(nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()),
    ]
    return Backbone(layers, taps=(1, 4, 7, 9, 11), smallest_side=31)


def lpips_inputs(images: Tensor) -> Tensor:
    """Normalise images [N, 1 or 3, H, W] in [-1, 1] to [N, 3, H, W] with ImageNet's statistics, as LPIPS does."""
    shift = images.new_tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1)
    scale = images.new_tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1)
    return (images - shift) / scale


def lpips_heads(state: Mapping[str, Tensor]) -> list[Tensor]:
    """Channel weights [C_l] of each layer, from a state dict of the LPIPS package with keys `lin<l>.model.1.weight`.

    Raises ValueError for other keys or a negative weight.
    """
    keys = [f"lin{layer}.model.1.weight" for layer in range(len(state))]
    if not keys or set(state) != set(keys):
        raise ValueError(
            f"the heads have keys {sorted(state)[:3]}, expected {keys[:1] or ['lin0.model.1.weight']} and on; give LPIPS' file"
        )
    heads = [state[key].detach().float().flatten() for key in keys]
    if any(bool((head < 0).any()) for head in heads):
        raise ValueError("a head has negative weights, under which a distance could be negative; give LPIPS' own file")
    return heads
