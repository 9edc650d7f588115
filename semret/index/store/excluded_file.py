"""The patterns that an index remembers, of what is to be left out of it: a small file beside the manifest.

It is no part of the catalog: older versions refuse settings there that they do not know, and so they go on reading.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from semret.errors import ArgumentError, IndexCorruptError
from semret.index.pictures.exclusion import Rule, check_pattern
from semret.index.store import durable
from semret.index.store.members import read_member

EXCLUDED_NAME = "excluded.json"

EXCLUDED_BYTES = 2**20
"""The file has no more."""

_ADVICE = "take it away and give the patterns again, with semret index --exclude"


def read_excluded(index: Path) -> tuple[Rule, ...]:
    """Read the patterns of an index.

    Parameters
    ----------
    index : Path
        Index directory.

    Returns
    -------
    tuple of Rule
        Empty where nothing is remembered.

    Raises
    ------
    IndexCorruptError
        If the file is damaged, or no regular file.
    """
    path = index / EXCLUDED_NAME
    try:
        return parse_excluded(read_member(path, most=EXCLUDED_BYTES))
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError as error:
        raise IndexCorruptError(f"{path} cannot be read: {error.strerror}; check access") from error
    except (ValueError, TypeError, KeyError, RecursionError, ArgumentError) as error:
        raise IndexCorruptError(f"{path} is damaged; {_ADVICE}") from error


def parse_excluded(raw: bytes) -> tuple[Rule, ...]:
    """Read the content of the file.

    Parameters
    ----------
    raw : bytes

    Returns
    -------
    tuple of Rule

    Raises
    ------
    ValueError, TypeError, KeyError, RecursionError, ArgumentError
        If it is not what `excluded_bytes` writes.
    """
    rules = tuple(_rule(entry) for entry in json.loads(raw.decode("ascii"))["exclude"])
    for rule in rules:
        check_pattern(rule.pattern)
    return rules


def _rule(entry: Any) -> Rule:
    folder, pattern = entry["folder"], entry["pattern"]
    if not isinstance(pattern, str) or not isinstance(folder, (str, type(None))) or "\0" in (folder or ""):
        raise TypeError("a pattern is no text")
    return Rule(folder, pattern)


def excluded_bytes(rules: tuple[Rule, ...]) -> bytes:
    """Return the content of the file.

    Parameters
    ----------
    rules : tuple of Rule

    Returns
    -------
    bytes
        JSON in ASCII.
    """
    document = {"exclude": [{"folder": rule.folder, "pattern": rule.pattern} for rule in rules]}
    return (json.dumps(document, indent=2) + "\n").encode("ascii")


def write_excluded(index: Path, rules: tuple[Rule, ...]) -> None:
    """Let an index remember these patterns and no others.

    Parameters
    ----------
    index : Path
        Index directory; the caller holds the right to write to it.
    rules : tuple of Rule

    Raises
    ------
    ArgumentError
        If they are too many.
    StorageError
        If the disk is full, read-only, or refuses access.
    """
    if not rules:
        durable.discard(index / EXCLUDED_NAME)
        return
    raw = excluded_bytes(rules)
    if len(raw) > EXCLUDED_BYTES:
        raise ArgumentError(f"{len(rules)} patterns are too many to remember; give fewer, with wildcards in them")
    durable.write_file(index / EXCLUDED_NAME, raw, "excluded")
