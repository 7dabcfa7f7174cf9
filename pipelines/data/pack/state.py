"""The options of a packing and its complete shards, so that an interrupted packing continues where it stopped."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pipelines.data.format.codec import Encoding
from pipelines.data.format.pyramid import Manifest, Shard
from pipelines.sources.decoding import Square

STATE = "packing.json"


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Everything that the bytes of a dataset depend on."""

    fingerprint: str  # the source's fingerprint
    resolution: int
    channels: int
    square: Square
    encoding: Encoding
    validation_fraction: float
    seed: int
    rows_per_group: int
    rows_per_shard: int
    windows: int = 1
    min_deviation: float = 0.0

    @staticmethod
    def of_manifest(manifest: Manifest) -> "Parameters":
        """The parameters of a complete dataset."""
        return Parameters(**{field.name: getattr(manifest, field.name) for field in dataclasses.fields(Parameters)})

    def differences(self, stored: "Parameters") -> list[str]:
        """One phrase for each field in which `stored` differs from these parameters; the images come last."""
        names = [field.name for field in dataclasses.fields(self) if field.name != "fingerprint"]
        pairs = [(name, getattr(stored, name), getattr(self, name)) for name in names]
        found = [f"{name} is {old!r} there and {new!r} now" for name, old, new in pairs if old != new]
        same = stored.fingerprint == self.fingerprint
        return found if same else [*found, "the images, or the choice of held-out ones, are different"]


@dataclass(frozen=True)
class Done:
    """The result of one job; `shard` is None if all its images were rejected."""

    shard: Shard | None
    rejected: tuple[tuple[str, str], ...]  # (name, reason) of each
    notes: dict[str, int]  # losses in images of the shard, and the number of images with each


@dataclass(frozen=True)
class PackingState:
    """The content of packing.json: the parameters and the complete jobs, by the path of their shard."""

    parameters: Parameters
    done: dict[str, Done] = field(default_factory=dict)

    @staticmethod
    def from_json(value: Any, where: str) -> "PackingState":
        """Validate `value` and build the state; raises ValueError naming its address `where`."""
        try:
            return TypeAdapter(PackingState).validate_python(value)
        except ValidationError as error:
            raise ValueError(f"{where} is damaged; delete {where} and the shards beside it") from error

    def to_json(self) -> dict[str, Any]:
        """The state as plain values for `json`."""
        return dataclasses.asdict(self)
