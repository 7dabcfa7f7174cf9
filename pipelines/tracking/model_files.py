"""The files of a checkpoint as an MLflow model: its averaged networks, what built them, and pages of pictures.

Safetensors, JSON and PNG, neither pickle nor code. `LOADER`, a module of this package, makes them a model again.
"""

import tempfile
import warnings
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pipelines.runs import checkpoint

LOADER = "pipelines.serving.model"
"""A name in the MLmodel file: tracking imports no serving."""
PICTURES = "figures"
"""Folder of the pages among the model's files."""
REQUIRED = ("alae", "torch", "safetensors", "numpy", "pillow")


def write(folder: Path, checkpoint_url: str, pages: Mapping[str, bytes], *, run_id: str, model_id: str) -> None:
    """Write the model of a checkpoint and its `pages`, PNG files by name, into the new local `folder`.

    Raises RuntimeError if the averages differ from the checkpoint's checksum.
    """
    import mlflow.pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    signature = ModelSignature(
        inputs=Schema([ColSpec("binary", "image", required=False)]),
        outputs=Schema([ColSpec("binary", "image")]),
        params=ParamSchema([ParamSpec("n", "long", 0), ParamSpec("seed", "long", 0), ParamSpec("psi", "double", 1.0)]),
    )
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "checkpoint"
        data.mkdir()
        checkpoint.copy_averages(checkpoint_url, data)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*input example", category=UserWarning)
            mlflow.pyfunc.save_model(
                str(folder),
                loader_module=LOADER,
                data_path=str(data),
                signature=signature,
                pip_requirements=_requirements(),
                mlflow_model=Model(run_id=run_id, model_id=model_id),
            )
    (folder / PICTURES).mkdir()
    for name, png in pages.items():
        (folder / PICTURES / f"{name}.png").write_bytes(png)


def _requirements() -> list[str]:
    """The packages that loading needs, at the versions of this process."""
    found = []
    for name in REQUIRED:
        try:
            found.append(f"{name}=={version(name)}")
        except PackageNotFoundError:  # a checkout that is not installed
            found.append(name)
    return found
