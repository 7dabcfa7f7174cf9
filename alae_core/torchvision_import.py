"""Import of torchvision that also works with a build of torch that its compiled operators do not fit."""

import importlib
import sys
from types import ModuleType
from typing import Any

_OPERATORS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_libraries: list[Any] = []  # a schema lives as long as its library


def torchvision() -> ModuleType:
    """Import and return torchvision; raises ImportError if it is not installed.

    If its compiled part cannot be loaded, the import fails on operators that only detection needs. They get a schema
    without a kernel, and everything else works. With a matching build this is a plain import.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "does not exist" not in str(error):
            raise
    import torch  # only here: packing and reading import this module, and torch takes seconds

    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    for name, schema in _OPERATORS.items():
        if not hasattr(torch.ops.torchvision, name):
            library = torch.library.Library("torchvision", "FRAGMENT")
            library.define(schema)
            _libraries.append(library)
    return importlib.import_module("torchvision")
