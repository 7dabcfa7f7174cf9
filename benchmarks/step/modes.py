"""Compared modes of an iteration: precision, eager or compiled, memory format, lazy R1, and the reference."""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import product
from typing import Literal

Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True, kw_only=True)
class Mode:
    """One way to run an iteration."""

    precision: Precision = "fp32"
    form: Literal["reference", "eager", "compiled"] = "eager"
    channels_last: bool = True
    lazy_r1: bool = False
    """R1 every 16 iterations as a separate update; this changes the mathematics, which every comparison must mention."""

    @property
    def name(self) -> str:
        """Name of the mode, such as fp32-eager-channels_last or reference."""
        if self.form == "reference":
            return "reference"
        layout = "channels_last" if self.channels_last else "contiguous"
        return f"{self.precision}-{self.form}-{layout}" + ("-lazy_r1" if self.lazy_r1 else "")


REFERENCE = Mode(form="reference", channels_last=False)


def every_mode() -> tuple[Mode, ...]:
    """The reference, then all combinations."""
    precisions: tuple[Precision, ...] = ("fp32", "bf16")
    forms: tuple[Literal["eager", "compiled"], ...] = ("eager", "compiled")
    return (
        REFERENCE,
        *(
            Mode(precision=precision, form=form, channels_last=channels_last, lazy_r1=lazy_r1)
            for lazy_r1, precision, form, channels_last in product((False, True), precisions, forms, (False, True))
        ),
    )


def select(patterns: Iterable[str]) -> tuple[Mode, ...]:
    """Modes whose names match any of the patterns (`*` matches any characters), each once; ValueError if none matches."""
    modes, wanted = every_mode(), tuple(patterns)
    for pattern in wanted:
        if not any(fnmatchcase(mode.name, pattern) for mode in modes):
            known = ", ".join(mode.name for mode in modes)
            raise ValueError(
                f"--modes: {pattern!r} is none of {known}; give some of these, or a pattern such as 'fp32-*'"
            )
    return tuple(mode for mode in modes if any(fnmatchcase(mode.name, pattern) for pattern in wanted))
