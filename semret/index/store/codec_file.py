"""The file of an index's codec: written before anything refers to it, read only as the manifest names it.

Its name carries the beginning of its digest, so that while an index is converted the codecs of both states can lie side
by side.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from semret.errors import IndexCorruptError, StorageError
from semret.index.codec.codec import Codec
from semret.index.codec.entry import CodecEntry
from semret.index.codec.file import pack, unpack
from semret.index.store import durable
from semret.index.store.manifest import Manifest
from semret.index.store.members import damaged, read_member

_DIGITS = 16
_PATTERN = "codec-*.h5"


def codec_name(entry: CodecEntry) -> str:
    """Return how the file of a codec is called in an index directory, and in an export.

    Parameters
    ----------
    entry : CodecEntry
        As a manifest has it.

    Returns
    -------
    str
    """
    return f"codec-{entry.digest[:_DIGITS]}.h5"


def write_codec(index: Path, codec: Codec) -> CodecEntry:
    """Write a codec into an index directory, whole or not at all; no manifest names it yet.

    Parameters
    ----------
    index : Path
        Index directory.
    codec : Codec

    Returns
    -------
    CodecEntry
        For the manifest.

    Raises
    ------
    StorageError
        If the disk is full, read-only, or refuses access.
    """
    raw, entry = pack(codec)
    durable.write_file(index / codec_name(entry), raw, "codec")
    return entry


def read_codec(index: Path, entry: CodecEntry) -> Codec:
    """Read the codec that a manifest names.

    Parameters
    ----------
    index : Path
        Index directory.
    entry : CodecEntry
        As the manifest has it.

    Returns
    -------
    Codec

    Raises
    ------
    IndexCorruptError
        If the file is missing, or not the one that is meant.
    StorageError
        If it may not be read.
    """
    path = index / codec_name(entry)
    try:
        raw = read_member(path, most=entry.bytes)
    except FileNotFoundError as error:
        raise damaged(path, "the file is missing, and no tokens can be read without it") from error
    except OSError as error:
        raise StorageError(durable.describe(error, f"read {path}")) from error
    try:
        return unpack(raw, entry, path)
    except IndexCorruptError as error:
        raise damaged(path, str(error).removeprefix(f"{path} is damaged: ").split(";")[0]) from error


def readable_codec(index: Path, manifest: Manifest) -> Codec | None:
    """Return the codec of an index that may be damaged.

    Parameters
    ----------
    index : Path
        Index directory.
    manifest : Manifest

    Returns
    -------
    Codec or None
        None if the index has none, or its file cannot be read.
    """
    if manifest.codec_file is None:
        return None
    try:
        return read_codec(index, manifest.codec_file)
    except (IndexCorruptError, StorageError):
        return None


def codec_files(index: Path) -> Iterator[Path]:
    """Give the files of codecs in an index directory, whether its manifest names them or not.

    Parameters
    ----------
    index : Path
        Index directory.

    Yields
    ------
    Path
        In no particular order.
    """
    yield from index.glob(_PATTERN)
