"""All torch.distributed calls: replicas start equal, step with the same gradient, and are checked to be equal."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def rank() -> int:
    """Rank of this process; 0 without a process group."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Number of processes in the group; 1 without a group."""
    return dist.get_world_size() if dist.is_initialized() else 1


@torch.no_grad()
def broadcast_networks(networks: Mapping[str, nn.Module]) -> None:
    """Copy the parameters and buffers of rank 0 to all ranks."""
    if world_size() == 1:
        return
    for network in networks.values():
        for tensor in network.state_dict().values():
            dist.broadcast(tensor, src=0)


@torch.no_grad()
def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its mean over the ranks, in one reduction of a flat tensor.

    Parameters without a gradient (layers that this level does not use) are skipped; they are the same on all ranks.
    """
    if world_size() == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return
    flat = torch.cat([g.reshape(-1) for g in gradients])
    dist.all_reduce(flat)
    flat /= world_size()
    parts = flat.split([g.numel() for g in gradients])
    torch._foreach_copy_(gradients, [part.view_as(g) for part, g in zip(parts, gradients, strict=True)])


@torch.no_grad()
def average(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Mean of each scalar over the ranks, in one reduction; all ranks must pass the same names."""
    if world_size() == 1 or not values:
        return dict(values)
    flat = torch.stack(list(values.values()))
    dist.all_reduce(flat)
    return dict(zip(values, (flat / world_size()).unbind(), strict=True))


@torch.no_grad()
def check_replicas(networks: Mapping[str, nn.Module]) -> None:
    """Raise RuntimeError that names the first parameter or buffer whose bits differ between ranks."""
    if world_size() == 1:
        return
    names = [f"{role}.{key}" for role, network in networks.items() for key in network.state_dict()]
    tensors = [tensor for network in networks.values() for tensor in network.state_dict().values()]
    low = torch.stack([_fingerprint(t) for t in tensors])
    high = low.clone()
    dist.all_reduce(low, op=dist.ReduceOp.MIN)
    dist.all_reduce(high, op=dist.ReduceOp.MAX)
    for name, differs in zip(names, (low != high).tolist(), strict=True):
        if differs:
            raise RuntimeError(f"replicas differ between ranks in {name}; restart from the last checkpoint")


def broadcast(value: object) -> Any:
    """Rank 0's `value` on every rank. It is pickled; on GPUs it passes through their memory."""
    if world_size() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


def gather(value: object) -> list[Any]:
    """Values of all ranks in order of rank, on every rank. Values are pickled and should be small."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def _fingerprint(tensor: Tensor) -> Tensor:
    """int64 checksum that depends on every bit and its position."""
    bits = tensor.detach().contiguous().view(-1).view(torch.uint8).to(torch.int64)
    place = torch.arange(1, bits.numel() + 1, device=bits.device)
    return (bits * (place * 2654435761 + 1)).sum()
