"""Digests that name files by their content."""

import hashlib


def short_digest(text: str) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of `text`, for use in a file's name."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
