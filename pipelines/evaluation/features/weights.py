"""Reads weight files of the user from a path or URL: checks their SHA-256, and runs no code from them."""

import hashlib
import io
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pipelines import storage

MARK = "#sha256="
"""Suffix of a path or URL with the SHA-256 that the file must have, for a file that is not known here."""


@dataclass(frozen=True)
class WeightFile:
    """Published weights of a network."""

    field: str
    """Setting that gives the path or URL."""
    known: Mapping[str, str]
    """Name of a file that gives the usual values -> beginning of its SHA-256."""


INCEPTION = WeightFile("evaluation.inception_weights", {"weights-inception-2015-12-05-6726825d.pth": "6726825d"})
VGG16 = WeightFile("evaluation.vgg16_weights", {"vgg16-397923af.pth": "397923af"})
LPIPS_HEADS = WeightFile(
    "evaluation.lpips_heads", {"lpips/weights/v0.1/vgg.pth of the package lpips": "a78928a0af1e5f0f"}
)
ALEXNET = WeightFile("evaluation.alexnet_weights", {"alexnet-owt-7be5be79.pth": "7be5be79"})
ALEXNET_HEADS = WeightFile(
    "evaluation.alexnet_heads", {"lpips/weights/v0.1/alex.pth of the package lpips": "df73285e35b22355"}
)


def read(file: WeightFile, url: str) -> tuple[dict[str, Tensor], str]:
    """Return the state dict in the file at `url`, and its SHA-256.

    Raises ValueError if the file is missing, contains more than tensors, or is unknown and its SHA-256 is not given.
    """
    place, _, expected = url.partition(MARK)
    check_exists(file, url)
    data = storage.read_bytes(place)
    found = hashlib.sha256(data).hexdigest()
    _check_digest(file, place, found, expected)
    return _tensors(file, place, data), found


def digest(file: WeightFile, url: str) -> str:
    """Return the SHA-256 of the file at `url`; raises ValueError if it is missing, or unknown and its SHA-256 is not given."""
    place, _, expected = url.partition(MARK)
    check_exists(file, url)
    found = storage.sha256(place)
    _check_digest(file, place, found, expected)
    return found


def check_exists(file: WeightFile, url: str) -> None:
    """Raise ValueError if there is no file at `url`."""
    place = url.partition(MARK)[0]
    if not storage.exists(place):
        raise ValueError(f"{file.field}={place} does not exist; give the path or URL of {' or '.join(file.known)}")


def _check_digest(file: WeightFile, place: str, digest: str, expected: str) -> None:
    if expected and digest != expected.lower():
        raise ValueError(f"{file.field}={place} has the SHA-256 {digest}, not {expected}; fetch it again")
    if not expected and not any(digest.startswith(known) for known in file.known.values()):
        raise ValueError(
            f"{file.field}={place} is not known to give the usual numbers: its SHA-256 is {digest}; give "
            f"{' or '.join(file.known)}, or add {MARK}{digest} to take this file all the same"
        )


def _tensors(file: WeightFile, place: str, data: bytes) -> dict[str, Tensor]:
    # A TorchScript archive contains code that runs at loading; torch.load would pass it to torch.jit.
    if zipfile.is_zipfile(io.BytesIO(data)) and any("/code/" in name for name in _names(data)):
        raise ValueError(
            f"{file.field}={place} is TorchScript, which holds code, so it is not opened; give {' or '.join(file.known)}"
        )
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
        raise ValueError(
            f"{file.field}={place} is no file of tensors alone, so it is not opened; give {' or '.join(file.known)}"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{file.field}={place} holds no state dict; give {' or '.join(file.known)}")
    return state


def _names(data: bytes) -> list[str]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.namelist()
