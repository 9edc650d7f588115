"""Reading and writing the tar file of an export; whatever semret does not write there is refused.

tarfile reads links, devices, sparse files, and names of any length kept in memory. An export holds regular files under
a few short names, so nothing else is taken. Headers are written and decoded by tarfile.
"""

from __future__ import annotations

import io
import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from semret.errors import IndexCorruptError

_BLOCK = 512
_CHUNK = 2**20
_EXTENDED_BYTES = 2**12
_PADDING = 2**20
_EXTENDED = re.compile(rb"(\d{1,4}) (mtime|size)=([0-9.]{1,40})\n")


@dataclass(frozen=True)
class Member:
    """One file of an archive; it can be read until the next one is taken."""

    name: str
    size: int
    stream: io.FileIO

    def chunks(self) -> Iterator[bytes]:
        """Give its content in pieces.

        Yields
        ------
        bytes

        Raises
        ------
        tarfile.TarError
            If it is cut off.
        """
        left = self.size
        while left:
            chunk = self.stream.read(min(left, _CHUNK))
            if not chunk:
                raise tarfile.TarError(f"{self.name} is cut off")
            left -= len(chunk)
            yield chunk


def read_members(stream: io.FileIO) -> Iterator[Member]:
    """Give the files of an archive in their order; what is not read of one is passed over.

    Parameters
    ----------
    stream : FileIO
        At the start of the archive.

    Yields
    ------
    Member

    Raises
    ------
    tarfile.TarError
        If there is anything but regular files, if it is cut off, or if something follows its end.
    """
    total = os.fstat(stream.fileno()).st_size
    position = 0
    while True:
        stream.seek(position)
        head, position = _read_head(stream, total, position)
        if head is None:
            return
        yield Member(head.name, head.size, stream)
        position += -(-head.size // _BLOCK) * _BLOCK


def _read_head(stream: io.FileIO, total: int, position: int) -> tuple[tarfile.TarInfo | None, int]:
    """Return the next header and where its data begin; None at the end of the archive."""
    sizes: dict[bytes, bytes] = {}
    head = _read_block(stream)
    position += _BLOCK
    if head is not None and head.type == tarfile.XHDTYPE:
        if not 0 <= head.size <= _EXTENDED_BYTES:
            raise tarfile.TarError(f"a header has {head.size} bytes, expected at most {_EXTENDED_BYTES}")
        sizes = _read_extended(stream.read(head.size))
        position += -(-head.size // _BLOCK) * _BLOCK
        stream.seek(position)
        head = _read_block(stream)
        position += _BLOCK
        if head is None:
            raise tarfile.TarError("it is cut off")
    if head is None:
        _require_padding(stream, total)
        return None, position
    if head.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
        raise tarfile.TarError(f"it holds {head.name[:100]!r}, which is no regular file")
    if b"size" in sizes:
        head.size = int(sizes[b"size"])
    if not 0 <= head.size <= total - position:
        raise tarfile.TarError(f"{head.name[:100]!r} is cut off")
    return head, position


def _read_block(stream: io.FileIO) -> tarfile.TarInfo | None:
    block = stream.read(_BLOCK)
    if len(block) != _BLOCK:
        raise tarfile.TarError("it is cut off")
    if not any(block):
        return None
    return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")


def _read_extended(raw: bytes) -> dict[bytes, bytes]:
    """Read the records of an extended header: a time, and a size that is too large for a plain one."""
    found = {}
    while raw:
        record = _EXTENDED.match(raw)
        if record is None or int(record[1]) != record.end():
            raise tarfile.TarError("its headers are not those of an export")
        found[record[2]] = record[3]
        raw = raw[record.end() :]
    if not found.get(b"size", b"0").isdigit():
        raise tarfile.TarError("its headers are not those of an export")
    return found


def _require_padding(stream: io.FileIO, total: int) -> None:
    """Refuse anything but a few zeros behind the end."""
    if total - stream.tell() > _PADDING or any(stream.read(_PADDING)):
        raise tarfile.TarError("something follows its end")


def add_member(out: BinaryIO, name: str, size: int, chunks: Iterator[bytes]) -> None:
    """Append a file to an archive that is being written.

    Parameters
    ----------
    out : binary stream
        The archive.
    name : str
        With forward slashes.
    size : int
        Bytes.
    chunks : iterator of bytes
        The content.

    Raises
    ------
    IndexCorruptError
        If `chunks` gives another number of bytes than `size`: the file changes, or is cut off.
    OSError
        If the archive cannot be written.
    """
    head = tarfile.TarInfo(name)
    head.size, head.mode = size, 0o644
    out.write(head.tobuf(tarfile.PAX_FORMAT))
    written = 0
    for chunk in chunks:
        written += len(chunk)
        if written > size:
            break
        out.write(chunk)
    if written != size:
        raise IndexCorruptError(f"{name} does not keep its size while it is read; try again")
    out.write(bytes(-size % _BLOCK))


def end_archive(out: BinaryIO) -> None:
    """Write the end of an archive.

    Parameters
    ----------
    out : binary stream
        The archive.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    out.write(bytes(2 * _BLOCK))
    out.write(bytes(-out.tell() % tarfile.RECORDSIZE))


def write_to(target: Path, chunks: Iterator[bytes]) -> io.BufferedWriter:
    """Write a new file from its pieces.

    Parameters
    ----------
    target : Path
        It must not exist.
    chunks : iterator of bytes

    Returns
    -------
    io.BufferedWriter
        Flushed, and still open.

    Raises
    ------
    OSError
        If the file exists or cannot be written; also what `chunks` raises.
    """
    stream = target.open("xb")
    try:
        for chunk in chunks:
            stream.write(chunk)
        stream.flush()
    except BaseException:
        stream.close()
        raise
    return stream
