"""Folders of the user's own modules: on the path of this process and of the Ray workers that `ray_connection` leads to."""

import importlib
import logging
import os
import sys
from pathlib import Path
from types import ModuleType

log = logging.getLogger(__name__)

_shared: list[str] = []


def share(folder: Path) -> None:
    """Make the modules of `folder` importable here, in processes started from here, and on Ray's workers.

    A folder that PYTHONPATH holds already, as that of a job's working directory, is there on the workers too.
    """
    text = str(folder.absolute())
    if text not in sys.path:
        sys.path.insert(0, text)
    path = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    if text not in path:
        os.environ["PYTHONPATH"] = os.pathsep.join([text, *path])
        _shared.append(text)
        ray = sys.modules.get("ray")
        if ray is not None and ray.is_initialized():
            log.warning("%s is not on the path of the Ray workers that run already; load it before ray.init()", text)
    importlib.invalidate_caches()


def worker_environment() -> dict[str, str]:
    """Variables that put the shared folders on the path of the workers of a cluster that runs already."""
    return {"PYTHONPATH": os.pathsep.join([*_shared, "${PYTHONPATH}"])} if _shared else {}


def import_file(path: Path) -> ModuleType:
    """The module in a Python file, under the name by which workers import it too; its folder is shared.

    The folder is the first one upwards that is no package. Raises ValueError if the file is not there, if its name cannot
    be imported or means another module, or with the error that its code raises.
    """
    path = path.absolute()
    if not path.is_file():
        raise ValueError(f"{path} is not there; give the path of a Python file")
    folder, parts = path.parent, [path.stem]
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    name = ".".join(parts)
    if not all(part.isidentifier() for part in parts):
        raise ValueError(f"{path} cannot be imported as {name}; use letters, digits and _ in its name")
    share(folder)
    module = import_module(name)
    if Path(module.__file__ or "").resolve() != path.resolve():
        raise ValueError(
            f"{path} has the name of another module, {module.__file__ or name}; give the file a name of its own"
        )
    return module


def import_module(name: str) -> ModuleType:
    """The module of that name. Raises ValueError with the error and the line, if its code raises one."""
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise ValueError(f"{name} cannot be imported: {type(error).__name__}: {error}{_where(error)}") from error


def _where(error: Exception) -> str:
    """The last line of the traceback that lies outside of the import machinery."""
    traceback, found = error.__traceback__, ""
    while traceback:
        file = traceback.tb_frame.f_code.co_filename
        if file != __file__ and "importlib" not in file:
            found = f" ({file}, line {traceback.tb_lineno})"
        traceback = traceback.tb_next
    return found
