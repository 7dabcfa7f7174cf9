"""Digests that name files by their content."""

import hashlib


def short_digest(text: str) -> str:
    """Sixteen digits that stand for `text` in a file's name."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
