"""What a packing was asked for and which shards are done, so that an interrupted one goes on where it stopped."""

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
    """All that the bytes of a dataset depend on."""

    fingerprint: str  # of the source
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
        """What a finished dataset was packed with."""
        return Parameters(**{field.name: getattr(manifest, field.name) for field in dataclasses.fields(Parameters)})

    def differences(self, stored: "Parameters") -> list[str]:
        """One phrase for each field in which `stored` differs from what is asked now; the images last."""
        names = [field.name for field in dataclasses.fields(self) if field.name != "fingerprint"]
        pairs = [(name, getattr(stored, name), getattr(self, name)) for name in names]
        found = [f"{name} is {old!r} there and {new!r} now" for name, old, new in pairs if old != new]
        same = stored.fingerprint == self.fingerprint
        return found if same else [*found, "the images are others or held out otherwise"]


@dataclass(frozen=True)
class Done:
    """What came of one job. No shard is published of images that were all rejected."""

    shard: Shard | None
    rejected: tuple[tuple[str, str], ...]  # name, reason
    notes: dict[str, int]  # what was lost of images that are in the shard, and of how many


@dataclass(frozen=True)
class PackingState:
    """What packing.json holds: the jobs that are done, by the path of their shard."""

    parameters: Parameters
    done: dict[str, Done] = field(default_factory=dict)

    @staticmethod
    def from_json(value: Any, where: str) -> "PackingState":
        """Checks and builds; raises ValueError naming `where`."""
        try:
            return TypeAdapter(PackingState).validate_python(value)
        except ValidationError as error:
            raise ValueError(f"{where} is damaged; delete {where} and the shards beside it") from error

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json`."""
        return dataclasses.asdict(self)
