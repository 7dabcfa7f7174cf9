"""Images in a zip, read one member at a time by byte ranges; the zip is never copied."""

import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import pyarrow as pa

from pipelines.sources.decoding import ImageRejectedError
from pipelines.sources.listing import Member, image_files
from pipelines.sources.ranges import opened, read_range
from pipelines.sources.source import Source

_LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, ..., length of the name, length of the extra field
_ENCRYPTED = 1
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_KEY = pa.struct({name: pa.int64() for name in ("start", "stop", "packed", "size", "crc", "method")})


@dataclass(frozen=True)
class ZipReader:
    """Reads members of the zip at `url`; a key holds a member's byte range, sizes, checksum and compression method."""

    url: str

    def fetch(self, key: dict[str, int]) -> bytes:
        """The bytes of one member, read by one request; raises ImageRejectedError if it is damaged."""
        block = read_range(self.url, key["start"], key["stop"])
        data = _unpacked(_body(block, key["packed"]), key)
        if len(data) != key["size"] or zlib.crc32(data) != key["crc"]:
            raise ImageRejectedError("damaged in the zip: its checksum is wrong")
        return data


def open_zip(source: str, url: str, channels: int) -> Source:
    """Open all image files in a zip by reading its directory.

    Raises ValueError if the zip is unreadable, encrypted, or compressed by another method than deflate.
    """
    try:
        with opened(url) as file, zipfile.ZipFile(file) as archive:
            _refuse_unreadable(source, archive)
            members = sorted(_members(archive), key=lambda member: member.path)
    except (zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"source {source} is not a readable zip: {error}") from error
    return image_files(source, "zip", channels, members, _KEY, ZipReader(url))


def _refuse_unreadable(source: str, archive: zipfile.ZipFile) -> None:
    for info in archive.infolist():
        if info.flag_bits & _ENCRYPTED:
            raise ValueError(f"source {source}: {info.filename} is encrypted; pack the zip again without a password")
        if info.compress_type not in _METHODS:
            raise ValueError(
                f"source {source}: {info.filename} is compressed by method {info.compress_type}, which is not read; "
                "pack the zip again stored or deflated"
            )


def _members(archive: zipfile.ZipFile) -> Iterator[Member]:
    starts = sorted({info.header_offset for info in archive.infolist()} | {archive.start_dir})
    # A member's stop is the start of the next: the length of its own header is unknown until that is read.
    stops = dict(pairwise(starts))
    for name, info in archive.NameToInfo.items():
        if not info.is_dir():
            yield Member(name, info.file_size, _key(info, stops[info.header_offset]))


def _key(info: zipfile.ZipInfo, stop: int) -> tuple[int, ...]:
    return info.header_offset, stop, info.compress_size, info.file_size, info.CRC, info.compress_type


def _body(block: bytes, packed: int) -> bytes:
    if len(block) < _LOCAL_HEADER.size:
        raise ImageRejectedError("damaged in the zip: the file ends before it")
    signature, name, extra = _LOCAL_HEADER.unpack_from(block)
    start = _LOCAL_HEADER.size + name + extra
    if signature != b"PK\3\4" or start + packed > len(block):
        raise ImageRejectedError("damaged in the zip: its header is not at the place given by the directory")
    return block[start : start + packed]


def _unpacked(body: bytes, key: dict[str, int]) -> bytes:
    if key["method"] == zipfile.ZIP_STORED:
        return body
    try:
        # One byte above the size in the directory is enough to detect a member that is too long.
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(body, key["size"] + 1)
    except zlib.error as error:
        raise ImageRejectedError(f"damaged in the zip: {error}") from error
