"""Heat maps laid over images: where an encoder looks."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.sources.decoding import Pixels

HEAT = 0.6
"""Share of the colour in the mixture; the rest is the image in grey."""
_COLOURS = ((0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164))
"""From the coolest to the hottest, in even steps; the hotter the lighter, so that a print in grey tells the same."""
_GREY = (0.299, 0.587, 0.114)


def over(images: Pixels, heat: Tensor) -> Pixels:
    """Each map of `heat` [N, h, w] as colours over its image of uint8 `images` [N, H, W, 1 or 3] -> uint8 [N, H, W, 3].

    The coolest place of each map has the first colour and the hottest the last; a map of one value is cool everywhere.
    """
    size = images.shape[1:3]
    maps = F.interpolate(heat.float().unsqueeze(1), size, mode="bilinear", align_corners=False).squeeze(1)
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    share = ((maps - low) / (high - low).clamp_min(torch.finfo(maps.dtype).tiny)).numpy()
    steps = np.linspace(0.0, 1.0, len(_COLOURS))
    colours = np.stack([np.interp(share, steps, column) for column in zip(*_COLOURS, strict=True)], -1)
    grey = images @ np.array(_GREY) if images.shape[3] == 3 else images[..., 0]
    return np.rint((1.0 - HEAT) * grey[..., None] + HEAT * colours).astype(np.uint8)
