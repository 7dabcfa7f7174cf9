"""Parser from a metric's name to its protocol, with the names that other codes use."""

import difflib
import re
from collections.abc import Callable
from typing import Any

from alae_core.metrics.protocol import Protocol
from alae_core.metrics.table import METRICS

ALIASES = {
    # NVIDIA's names.
    "kid50k_full": "kid50k_full_x1000",
    "ppl2_wend": "ppl50k_wend",
    # As the official StyleGAN's scripts measure where training mirrored its images.
    "fid50k_stylegan_compat": "fid50k_mirrored",
    **{f"ppl_{kind}_stylegan_compat": f"ppl_{kind}_face" for kind in ("zfull", "zend", "wfull", "wend")},
    # As the official ALAE's scripts measure.
    "fid50k_alae_compat": "fid50k_mixed0.9_floored_mirrored",
    "fid50k_recon_alae_compat": "fid50k_recon_floored_mirrored",
    "lpips10k_recon_alae_compat": "lpips10k_recon_test_floored",
    **{f"ppl_{kind}_alae_compat": f"ppl50k_{kind}_face" for kind in ("wfull", "wend")},
    **{f"ppl_{kind}_celeba_alae_compat": f"ppl50k_{kind}_celeba" for kind in ("wfull", "wend")},
}
"""Names of other codes, and the `_compat` names, by the protocols' own."""
NEAREST = 8
"""Number of known names that an error lists."""

_NUMBER = r"(\d+(?:\.\d+)?)k(\d+)?|(\d+)x(\d+)"
_OPTIONS: dict[str, Callable[[re.Match[str]], dict[str, Any]]] = {
    r"full": lambda m: {"full": True},
    r"(\d*)x(\d+)": lambda m: {"subsets": int(m[1] or 100), "subset_size": int(m[2])},
    r"pairs": lambda m: {"subsets": 0, "subset_size": 0},
    r"([zw])(full|end)?": lambda m: {"space": m[1], "path": m[2]},
    r"long": lambda m: {"long": True},
    r"recon": lambda m: {"of": "reconstructions"},
    r"validation|test": lambda m: {"split": m[0]},
    r"to_([ab])": lambda m: {"of": "translations", "to": m[1]},
    r"paired": lambda m: {"paired": True},
    r"face|celeba": lambda m: {"crop": m[0]},
    r"psi(-?\d+(?:\.\d+)?)": lambda m: {"truncation": float(m[1])},
    r"mixed(\d+(?:\.\d+)?)": lambda m: {"mixing": float(m[1])},
    r"floored": lambda m: {"rounding": "official"},
    r"clean": lambda m: {"resize": "clean"},
    r"mirrored": lambda m: {"mirrored": True},
}


def known() -> tuple[str, ...]:
    """Names that are usual; any other number of images and any option does as well."""
    return (*(name for row in METRICS.values() for name in row.usual), *ALIASES)


def parse(name: str) -> Protocol:
    """Protocol of a metric's name; raises ValueError with the reason and the known metrics, nearest first."""
    spelled = ALIASES.get(name, name)
    try:
        protocol = Protocol(**_fields(spelled))
        # Options are read in any order, but must have the order of the protocol's own name.
        if protocol.name != spelled:
            raise ValueError(f"its name is spelled {protocol.name}")
    except ValueError as reason:
        ranked = sorted(known(), key=lambda usual: difflib.SequenceMatcher(None, name, usual).ratio(), reverse=True)
        near = ", ".join(ranked[:NEAREST])
        raise ValueError(f"metric {name!r} is not known: {reason}; known ones, nearest first: {near}") from None
    return protocol


def _fields(name: str) -> dict[str, Any]:
    head, *options = re.split(r"(?<!_to)_", name)
    found = re.fullmatch(rf"({'|'.join(METRICS)})(?:{_NUMBER})?", head)
    if found is None:
        raise ValueError(f"{head!r} is none of {', '.join(METRICS)} with a number of images, as in fid50k")
    metric = METRICS[found[1]]
    fields = {"metric": found[1], "images": metric.images, "extractor": metric.extractor, "full": metric.full}
    fields |= _number(found, 2)
    counted = head != found[1]
    for place, option in enumerate(options):
        # The extractor follows a metric without a number; the number follows it, joined if the extractor ends in a letter.
        read = _head_part(option, extractor=place == 0) if place < 2 and not counted else None
        counted = counted or bool(read and "images" in read)
        fields |= read or _option(option)
    if fields["images"] is None:
        raise ValueError(f"it lacks the number of images, as in {found[1]}50k")
    return fields


def _head_part(text: str, *, extractor: bool) -> dict[str, Any] | None:
    if found := re.fullmatch(_NUMBER, text):
        return _number(found, 1)
    if any(re.fullmatch(pattern, text) for pattern in _OPTIONS) or not extractor:
        return None
    found = re.fullmatch(rf"([a-z][a-z0-9]*?)(?:(?<=[a-z])(?:{_NUMBER}))?", text)
    return found and {"extractor": found[1], **_number(found, 2)}


def _option(text: str) -> dict[str, Any]:
    for pattern, fields in _OPTIONS.items():
        if found := re.fullmatch(pattern, text):
            return fields(found)
    raise ValueError(f"{text!r} is no option")


def _number(found: re.Match[str], group: int) -> dict[str, Any]:
    """Fields `images`, and `neighbours` or `each`, from the four groups of `_NUMBER` that begin at `group`."""
    thousands, neighbours, inputs, each = found.groups()[group - 1 : group + 3]
    if inputs:
        return {"images": int(inputs), "each": int(each)}
    if not thousands:
        return {}
    return {"images": round(float(thousands) * 1000), **({"neighbours": int(neighbours)} if neighbours else {})}
