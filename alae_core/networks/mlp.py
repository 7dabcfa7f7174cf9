"""MLPs on flattened images: the permutation-invariant generator and encoder (ALAE, section 5.1)."""

import math

from torch import Tensor, nn

from alae_core.layers import EqualLinear, leaky_relu


class MLPGenerator(nn.Module):
    """Generator G: w [N, D] -> image [N, C, R, R], with two hidden layers and a linear output."""

    def __init__(self, latent: int, hidden: int, resolution: int, channels: int) -> None:
        super().__init__()
        self.shape = (channels, resolution, resolution)
        self.layers = nn.ModuleList([EqualLinear(latent, hidden), EqualLinear(hidden, hidden)])
        self.output = EqualLinear(hidden, math.prod(self.shape))

    def forward(self, w: Tensor) -> Tensor:
        for layer in self.layers:
            w = leaky_relu(layer(w))
        return self.output(w).unflatten(1, self.shape)


class MLPEncoder(nn.Module):
    """Encoder E: image [N, C, R, R] -> w [N, D], with two hidden layers and leaky ReLU on the code, as in the original."""

    def __init__(self, latent: int, hidden: int, resolution: int, channels: int) -> None:
        super().__init__()
        inputs = channels * resolution * resolution
        self.layers = nn.ModuleList([EqualLinear(inputs, hidden), EqualLinear(hidden, hidden)])
        self.output = EqualLinear(hidden, latent)

    def features(self, images: Tensor) -> Tensor:
        """Long code of images [N, C, R, R]: the activations [N, hidden] of the last hidden layer."""
        x = images.flatten(1)
        for layer in self.layers:
            x = leaky_relu(layer(x))
        return x

    def code(self, features: Tensor) -> Tensor:
        """Short code w [N, D] from the long code [N, hidden]."""
        return leaky_relu(self.output(features))

    def forward(self, images: Tensor) -> Tensor:
        return self.code(self.features(images))
