"""Remove files that an earlier run left in the folder of a report."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from semret.errors import StorageError
from semret.foreign import read_regular

_OURS = re.compile(r"[A-Za-z0-9._-]+\.png|examples(-[0-9]+)?\.html|per_query\.jsonl")
_MOST_BYTES = 1 << 28


def remove_leftovers(directory: Path) -> None:
    """Remove the files that the report in a folder names as its own: figures, lines per query, pages of examples.

    Nothing is removed where there is no report, and no file of a name that semret never gives.

    Parameters
    ----------
    directory : Path

    Raises
    ------
    StorageError
        If a file cannot be removed.
    """
    document = _report(directory)
    if document is None:
        return
    listed = document.get("figures")
    names = {name for name in listed if isinstance(name, str)} if isinstance(listed, list) else set()
    pages = {path.name for path in directory.glob("examples*.html")}
    for name in sorted(names | pages | {"per_query.jsonl"}):
        path = directory / name
        if not _OURS.fullmatch(name) or not path.is_file():
            continue
        try:
            path.unlink()
        except OSError as error:
            raise StorageError(f"cannot remove {path}, which an earlier run left: {error.strerror}") from error


def _report(directory: Path) -> dict[str, Any] | None:
    try:
        document = json.loads(read_regular(directory / "report.json", most=_MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    known = isinstance(document, dict) and str(document.get("schema", "")).startswith("semret-report/")
    return document if known else None
