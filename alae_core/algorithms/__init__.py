"""Algorithms, one per module. Every module with a `Config`, whose `kind` is the module's name, is found automatically."""

import importlib
import pkgutil


def _discover() -> dict[str, type]:
    modules = (importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__))
    configs = (getattr(module, "Config", None) for module in modules)
    return {config.kind: config for config in configs if config is not None}


CONFIGS: dict[str, type] = _discover()
"""Kind of an algorithm -> its Config class."""
