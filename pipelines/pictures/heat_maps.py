"""Heat maps over images, such as the attention of an encoder."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.sources.decoding import Pixels

HEAT = 0.6
"""Share of the colour in the mixture; the rest is the image in grey."""
_COLOURS = ((0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164))
"""RGB colours from the coolest to the hottest in even steps. Hotter colours are lighter, so that a print in grey shows
the same order."""
_GREY = (0.299, 0.587, 0.114)


def over(images: Pixels, heat: Tensor) -> Pixels:
    """Blend the colours of each map in `heat` [N, h, w] with its image, uint8 [N, H, W, 1 or 3] -> uint8 [N, H, W, 3].

    The lowest value of each map gets the first colour and the highest the last; a constant map gets the first colour
    everywhere.
    """
    size = images.shape[1:3]
    maps = F.interpolate(heat.float().unsqueeze(1), size, mode="bilinear", align_corners=False).squeeze(1)
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    share = ((maps - low) / (high - low).clamp_min(torch.finfo(maps.dtype).tiny)).numpy()
    steps = np.linspace(0.0, 1.0, len(_COLOURS))
    colours = np.stack([np.interp(share, steps, column) for column in zip(*_COLOURS, strict=True)], -1)
    grey = images @ np.array(_GREY) if images.shape[3] == 3 else images[..., 0]
    return np.rint((1.0 - HEAT) * grey[..., None] + HEAT * colours).astype(np.uint8)
