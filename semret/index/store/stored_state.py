"""The one object that says what an index in an object store consists of; to put it is the commit.

The files of an index directory lie under their digests, so that those of several states lie side by side.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from semret.errors import IndexCorruptError
from semret.index.store.catalog_digest import DIGEST_BYTES
from semret.index.store.catalog_file import CATALOG_NAME, DIGEST_NAME, MOST_BYTES
from semret.index.store.directory_file import DIRECTORY_NAME
from semret.index.store.excluded_file import EXCLUDED_NAME
from semret.index.store.lists_file import LISTS_NAME
from semret.index.store.manifest import MANIFEST_BYTES, MANIFEST_NAME
from semret.index.store.shortlist_file import SHORTLIST_NAME
from semret.index.store.words_file import WORDS_NAME

STATE_NAME = "state.json"
STATE_BYTES = 2**25
"""No such object is longer: that is enough for two hundred thousand segments."""

OBJECTS = "objects"
"""The folder of what it names."""

REPLACED_NAME = "replaced.json"
"""Names the files of an index that was copied there, from just before they are replaced until they are deleted."""

DERIVED = (DIRECTORY_NAME, SHORTLIST_NAME, LISTS_NAME, WORDS_NAME, EXCLUDED_NAME)
"""Files that an index can do without."""

_FORMAT = 1
_REQUIRED = (CATALOG_NAME, DIGEST_NAME, MANIFEST_NAME)
_NAMES = re.compile(r"segments/\d{6,18}\.h5|codec-[0-9a-f]{16}\.h5", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_MOST = {MANIFEST_NAME: MANIFEST_BYTES, DIGEST_NAME: DIGEST_BYTES, CATALOG_NAME: MOST_BYTES}
_LONGEST = 2**50
_AGAIN = "delete it and copy an index there again"


@dataclass(frozen=True)
class StoredFile:
    """A file of an index in an object store.

    Attributes
    ----------
    sha256 : str
        In hexadecimal.
    bytes : int
    """

    sha256: str
    bytes: int

    @property
    def name(self) -> str:
        """The object that it is."""
        return f"{OBJECTS}/{self.sha256}"


@dataclass(frozen=True)
class StoredState:
    """What an index in an object store consists of.

    Attributes
    ----------
    files : dict of str to StoredFile
        By their names in an index directory.
    """

    files: dict[str, StoredFile]

    @property
    def objects(self) -> dict[str, int]:
        """The objects that it names, and how many bytes each has."""
        return {file.name: file.bytes for file in self.files.values()}

    def as_bytes(self) -> bytes:
        """Return the content of the object.

        Returns
        -------
        bytes
            JSON, always the same for the same files.
        """
        files = {name: {"bytes": file.bytes, "sha256": file.sha256} for name, file in self.files.items()}
        return json.dumps({"files": files, "format": _FORMAT}, sort_keys=True, indent=0).encode() + b"\n"


def parse_state(raw: bytes, place: str) -> StoredState:
    """Read what `StoredState.as_bytes` made.

    Parameters
    ----------
    raw : bytes
        At most `STATE_BYTES`.
    place : str
        Where it lies, for messages.

    Returns
    -------
    StoredState

    Raises
    ------
    IndexCorruptError
        If it is anything else: names that no index has, digests that are none, other types, another format.
    """
    try:
        state = _state(raw)
    except (ValueError, RecursionError) as error:
        # What JSON refuses is not quoted: it may be anything.
        what = error if type(error) is ValueError else "it is no JSON"
        raise IndexCorruptError(f"{place} is damaged: {what}; {_AGAIN}") from error
    if missing := [name for name in _REQUIRED if name not in state.files]:
        raise IndexCorruptError(f"{place} is damaged: it names no {missing[0]}; {_AGAIN}")
    if state.as_bytes() != raw:
        raise IndexCorruptError(f"{place} is damaged: it is not as semret writes it; {_AGAIN}")
    return state


def replaced_as_bytes(names: Sequence[str]) -> bytes:
    """Return the content of the object `REPLACED_NAME`.

    Parameters
    ----------
    names : sequence of str

    Returns
    -------
    bytes
    """
    return json.dumps(list(names)).encode()


def parse_replaced(raw: bytes) -> list[str]:
    """Read what `replaced_as_bytes` made; what else is in it is passed over.

    Parameters
    ----------
    raw : bytes
        At most `STATE_BYTES`.

    Returns
    -------
    list of str
        Names that files of an index directory have, and no others.
    """
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return []
    return [name for name in found if _is_member(name)] if isinstance(found, list) else []


def _is_member(name: object) -> bool:
    """Tell whether files of an index directory have such a name."""
    return isinstance(name, str) and (name in (*_REQUIRED, *DERIVED) or _NAMES.fullmatch(name) is not None)


def _state(raw: bytes) -> StoredState:
    found = json.loads(raw)
    if not isinstance(found, dict) or found.get("format") != _FORMAT or not isinstance(found.get("files"), dict):
        raise ValueError(f"it is no state of format {_FORMAT}")
    return StoredState({name: _file(name, entry) for name, entry in found["files"].items()})


def _file(name: str, entry: Any) -> StoredFile:
    if not _is_member(name):
        raise ValueError(f"it names {name[:60]!r}, which no index has")
    if not isinstance(entry, dict) or set(entry) != {"sha256", "bytes"}:
        raise ValueError(f"it does not say what {name} is")
    digest, size = entry["sha256"], entry["bytes"]
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise ValueError(f"the digest of {name} is none")
    if type(size) is not int or not 0 <= size <= _MOST.get(name, _LONGEST):
        raise ValueError(f"the size of {name} is none")
    return StoredFile(digest, size)
