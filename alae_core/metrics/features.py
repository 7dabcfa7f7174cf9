"""Features that many processes computed, put into the order of their images."""

from collections.abc import Iterable

import torch
from torch import Tensor


def in_order(parts: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """Join parts (int64 image indices [n], rows [n, ...]) of any order and size into rows [N, ...] sorted by image index.

    The indices of all parts must be 0 to N - 1, each once; raises ValueError otherwise.
    """
    numbers, rows = zip(*parts, strict=True)
    index, values = torch.cat(numbers), torch.cat(rows)
    order = index.argsort(stable=True)
    if len(index) != len(values) or not torch.equal(index[order], torch.arange(len(index), device=index.device)):
        raise ValueError(
            f"{len(values)} features carry {len(index.unique())} different image numbers, up to "
            f"{int(index.max()) if len(index) else 'none'}; every image needs its features exactly once"
        )
    return values[order]
