"""What an index was made with, and the refusal of what does not fit.

The manifest is written once, when the index is made, and never changes: it may be read without a lock.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from semret._version import __version__
from semret.errors import (
    ArgumentError,
    IncompatibleIndexError,
    IndexCorruptError,
    IndexNotFoundError,
    SemretError,
    cut_text,
)
from semret.index.backbones.spec import Identity, Preprocessing
from semret.index.codec.codec import code_columns
from semret.index.codec.entry import CodecEntry
from semret.index.codec.table import NO_CODEC, parse
from semret.index.store.catalog_file import CATALOG_NAME
from semret.index.store.members import REPAIR, damaged, read_member

FORMAT_VERSION = 2
"""Of the indexes that this version makes; those of format 1 it reads and continues as they are."""

MANIFEST_NAME = "manifest.json"
DTYPES = ("float16", "float32")
"""How tokens may be stored."""

MANIFEST_BYTES = 2**20
_LONGEST_NAME = 32

_SINCE_FORMAT_2 = {"codec", "codec_file"}


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What is fixed for the life of an index.

    Attributes
    ----------
    format_version : int
        Of the files on disk; `FORMAT_VERSION` for an index made by this version of semret.
    codec : str
        Name of the codec that tokens are to be stored with; ``none`` stores them as they are. Since format 2.
    codec_file : CodecEntry or None
        The codec that tokens are stored with. None where they are stored as they are: by wish, or because the index has
        too few images yet to fit a codec on. Since format 2.
    identity : Identity
        The backbone, its weights, preprocessing and geometry.
    dtype : {"float16", "float32"}
        Of the stored tokens, where they are stored as they are.
    created : str
        UTC, ISO 8601.
    semret : str
        Version that made the index.
    """

    format_version: int = FORMAT_VERSION
    identity: Identity
    dtype: str = "float16"
    codec: str = NO_CODEC
    codec_file: CodecEntry | None = None
    created: str
    semret: str = __version__

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ArgumentError(f"tokens cannot be stored as {self.dtype!r}; choose one of {', '.join(DTYPES)}")

    @property
    def token_shape(self) -> tuple[int, int]:
        """``(S, C)`` of the tokens that the network gives for each image."""
        height, width = self.identity.grid
        return height * width, self.identity.channels

    @property
    def map_shape(self) -> tuple[int, int]:
        """``(S, C)`` of the tokens that are compared; with a codec, C is the number of its directions."""
        positions, channels = self.token_shape
        return positions, channels if self.codec_file is None else self.codec_file.dimension

    @property
    def pooled_length(self) -> int:
        """Length of the pooled embedding that is stored of each image."""
        return self.identity.pooled_dim if self.codec_file is None else self.codec_file.pooled_out

    @property
    def token_columns(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """What is stored of an image's tokens, dtype and shape: ``tokens``, and ``scales`` of most codecs."""
        if self.codec_file is None:
            return {"tokens": ({"float16": "<f2", "float32": "<f4"}[self.dtype], self.token_shape)}
        return code_columns(self.codec_file.spec, self.codec_file.dimension, self.token_shape[0])

    @property
    def token_bytes(self) -> int:
        """Bytes that are stored of the tokens of one image."""
        return sum(np.dtype(dtype).itemsize * math.prod(shape) for dtype, shape in self.token_columns.values())

    def as_bytes(self) -> bytes:
        """Return the manifest as it is written; there is one way only, so a file that differs by a byte is damaged.

        Returns
        -------
        bytes
            JSON in ASCII.
        """
        document = {name: value for name, value in asdict(self).items() if name in _fields(self.format_version)}
        return (json.dumps(document, indent=2, sort_keys=True, allow_nan=False) + "\n").encode("ascii")

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest as it is written, in hexadecimal."""
        return hashlib.sha256(self.as_bytes()).hexdigest()


def has_lost_manifest(index: Path) -> bool:
    """Tell whether a directory is an index but for its manifest: that is written last, so others were there.

    Parameters
    ----------
    index : Path

    Returns
    -------
    bool
    """
    has_remains = os.path.lexists(index / CATALOG_NAME) and any(index.glob("segments/*.h5"))
    return has_remains and not os.path.lexists(index / MANIFEST_NAME)


def read_manifest(index: Path) -> Manifest:
    """Read the manifest of an index directory.

    Parameters
    ----------
    index : Path
        Index directory.

    Returns
    -------
    Manifest

    Raises
    ------
    IndexNotFoundError
        If there is none.
    IndexCorruptError
        If it is damaged.
    IncompatibleIndexError
        If it is of a format that this version does not know.
    """
    path = index / MANIFEST_NAME
    try:
        raw = read_member(path, most=MANIFEST_BYTES)
    except (FileNotFoundError, NotADirectoryError) as error:
        if has_lost_manifest(index):
            raise IndexCorruptError(f"{index} is damaged, it holds no {MANIFEST_NAME}; {REPAIR}") from error
        raise IndexNotFoundError(f"{index} is no index: it holds no {MANIFEST_NAME}") from error
    except OSError as error:
        raise IndexCorruptError(f"{path} cannot be read: {error.strerror}; check access, or {REPAIR}") from error
    return parse_manifest(raw, path)


def parse_manifest(raw: bytes, path: Path) -> Manifest:
    """Read a manifest from its bytes.

    Parameters
    ----------
    raw : bytes
    path : Path
        Its file, for messages.

    Returns
    -------
    Manifest

    Raises
    ------
    IndexCorruptError, IncompatibleIndexError
        As `read_manifest`.
    """
    try:
        document = json.loads(raw.decode("ascii"))
        _refuse_other_formats(document, path)
        manifest = _build(document)
        intact = manifest.as_bytes() == raw
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
        raise IndexCorruptError(f"{path} is damaged ({cut_text(error)}); {REPAIR}") from error
    if not intact:
        raise damaged(path, "it is not what semret writes")
    return manifest


def _refuse_other_formats(document: Any, path: Path) -> None:
    found = document["format_version"]
    if type(found) is not int:
        raise TypeError("its format version is not a number")
    if found > FORMAT_VERSION:
        raise IncompatibleIndexError(
            f"{path.parent} has index format {found}, this semret {__version__} reads up to {FORMAT_VERSION}; "
            "upgrade semret, or index into another directory"
        )
    if found < 1:
        raise ValueError(f"there is no index format {found}")


def _fields(version: int) -> set[str]:
    """Return the names of the fields that a manifest of this format has."""
    return {field.name for field in fields(Manifest)} - (set() if version > 1 else _SINCE_FORMAT_2)


def _build(document: dict[str, Any]) -> Manifest:
    if set(document) != _fields(document["format_version"]):
        raise KeyError("fields are missing or unknown")
    stored = dict(document["identity"])
    shape = dict(stored["preprocessing"])
    for key in ("size", "mean", "std"):
        shape[key] = tuple(shape[key])
    stored["preprocessing"] = Preprocessing(**shape)
    stored["grid"] = tuple(stored["grid"])
    found = {**document, "identity": Identity(**stored)}
    if found.get("codec_file") is not None:
        found["codec_file"] = CodecEntry.from_json(found["codec_file"])
    manifest = Manifest(**found)
    _check_numbers(manifest)
    _check_codec(manifest)
    return manifest


def _check_codec(manifest: Manifest) -> None:
    """Refuse a codec that has no such name, or is not of this network."""
    entry, identity = manifest.codec_file, manifest.identity
    if type(manifest.codec) is not str or len(manifest.codec) > _LONGEST_NAME:
        raise TypeError("the name of the codec is not a short text")
    try:
        parse(manifest.codec)
    except SemretError as error:
        raise ValueError(str(error)) from error
    if entry is None:
        return
    if (entry.name, entry.channels, entry.pooled_in) != (manifest.codec, identity.channels, identity.pooled_dim):
        raise ValueError("the codec is not of this network")


def _check_numbers(manifest: Manifest) -> None:
    """Refuse sizes that could not come from a network; what is computed with them later stays within memory."""
    identity = manifest.identity
    sizes = (*identity.grid, identity.channels, identity.pooled_dim, *identity.preprocessing.size)
    if len(identity.grid) != 2 or len(identity.preprocessing.size) != 2:
        raise ValueError("a grid or size does not have two numbers")
    if not all(type(size) is int and 0 < size <= 2**20 for size in sizes):
        raise ValueError("a size is out of range")
    if math.prod(manifest.token_shape) > 2**29:
        raise ValueError("an image would take more than 2 GiB")
    if not re.fullmatch(r"[0-9a-f]{64}", identity.weights_sha256):
        raise ValueError("the digest of the weights is not 64 hexadecimal digits")


def check_compatible(manifest: Manifest, identity: Identity) -> None:
    """Refuse a backbone that is not the one an index was made with.

    Parameters
    ----------
    manifest : Manifest
        Of the index.
    identity : Identity
        Of the backbone.

    Raises
    ------
    IncompatibleIndexError
        If a field differs; the message names every one, with both values.
    """
    stored, given = asdict(manifest.identity), asdict(identity)
    # The digest of the weights says what they are; a revision only says where they were looked for.
    del stored["revision"], given["revision"]
    differences = _differences(stored, given)
    if differences:
        raise IncompatibleIndexError(
            f"the index was made with another model: {'; '.join(differences)}. "
            "Use the model it was made with, or index into another directory with --index"
        )


def _differences(stored: dict[str, Any], given: dict[str, Any], prefix: str = "") -> list[str]:
    found = []
    for key, value in stored.items():
        other = given[key]
        if isinstance(value, dict) and isinstance(other, dict):
            found += _differences(value, other, f"{prefix}{key}.")
        elif value != other:
            found.append(f"{prefix}{key} is {_plain(value)} in the index, {_plain(other)} now")
    return found


def _plain(value: Any) -> str:
    if isinstance(value, tuple) and all(isinstance(part, int) for part in value):
        return "x".join(map(str, value))
    text = str(value)
    return text if len(text) <= 40 else f"{text[:12]}..."
