"""2x2 box average between levels of an image pyramid, in numpy only so that packing need not import torch."""

import numpy as np
from numpy.typing import NDArray


def box_halve(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Halve uint8 images [N, H, W, C] to [N, H/2, W/2, C]: the mean of each 2x2 block, rounded half up."""
    count, height, width, channels = images.shape
    rows = images.reshape(count, height // 2, 2, width * channels)
    pairs = np.add(rows[:, :, 0], rows[:, :, 1], dtype=np.uint16)
    columns = pairs.reshape(count, height // 2, width // 2, 2, channels)
    total = columns[:, :, :, 0] + columns[:, :, :, 1]
    return ((total + 2) >> 2).astype(np.uint8)
