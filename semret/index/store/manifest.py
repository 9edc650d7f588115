"""What an index was made with, and the refusal of what does not fit.

The manifest is written once, when the index is made, and never changes: it may be read without a lock.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from semret._version import __version__
from semret.errors import ArgumentError, IncompatibleIndexError, IndexCorruptError, IndexNotFoundError, cut_text
from semret.index.backbones.spec import Identity, Preprocessing
from semret.index.store.members import REPAIR, damaged, read_member

FORMAT_VERSION = 2
"""Of the indexes that this version makes; those of format 1 it reads and continues as they are."""

MANIFEST_NAME = "manifest.json"
DTYPES = ("float16", "float32")
"""How tokens may be stored."""

MANIFEST_BYTES = 2**20

_SINCE_FORMAT_2 = {"codec"}


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What is fixed for the life of an index.

    Attributes
    ----------
    format_version : int
        Of the files on disk; `FORMAT_VERSION` for an index made by this version of semret.
    codec : str
        Name of the codec that tokens are to be stored with; ``none`` stores them as they are. Since format 2.
    identity : Identity
        The backbone, its weights, preprocessing and geometry.
    dtype : {"float16", "float32"}
        Of the stored tokens.
    created : str
        UTC, ISO 8601.
    semret : str
        Version that made the index.
    """

    format_version: int = FORMAT_VERSION
    identity: Identity
    dtype: str = "float16"
    codec: str = "none"
    created: str
    semret: str = __version__

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ArgumentError(f"tokens cannot be stored as {self.dtype!r}; choose one of {', '.join(DTYPES)}")

    @property
    def token_shape(self) -> tuple[int, int]:
        """``(S, C)`` of each image."""
        height, width = self.identity.grid
        return height * width, self.identity.channels

    @property
    def token_bytes(self) -> int:
        """Bytes of the tokens of one image."""
        positions, channels = self.token_shape
        return positions * channels * np.dtype(self.dtype).itemsize

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
    manifest = Manifest(**{**document, "identity": Identity(**stored)})
    _check_numbers(manifest)
    return manifest


def _check_numbers(manifest: Manifest) -> None:
    """Refuse sizes that could not come from a network; what is computed with them later stays within memory."""
    identity = manifest.identity
    sizes = (*identity.grid, identity.channels, identity.pooled_dim, *identity.preprocessing.size)
    if len(identity.grid) != 2 or len(identity.preprocessing.size) != 2:
        raise ValueError("a grid or size does not have two numbers")
    if not all(type(size) is int and 0 < size <= 2**20 for size in sizes):
        raise ValueError("a size is out of range")
    if manifest.token_bytes > 2**31:
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
