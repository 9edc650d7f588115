"""The list of candidates of ``semret rerank``: paths or ids, as other programs and semret itself write them."""

from __future__ import annotations

import codecs
import csv
import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semret.errors import ArgumentError
from semret.foreign import UnfitFileError, read_regular

MAX_BYTES = 512 << 20
"""Longest list that is read: some million long paths."""

_DESCRIPTOR = re.compile(r"/dev/(stdin|fd/\d+)|/proc/self/fd/\d+")
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_DIGITS = 19


@dataclass(frozen=True)
class Entry:
    """One candidate of a list: where it stands, and the paths and ids it may mean, the most likely first."""

    place: str
    meanings: tuple[int | str, ...]

    def find(self, find: Callable[[int | str], int | None]) -> int | None:
        """Look the entry up.

        Parameters
        ----------
        find : callable
            Gives the id of a path or id, None if it is not in the index.

        Returns
        -------
        int or None
            The id of the first meaning that is found; None if none of them is.
        """
        return next((id_ for meaning in self.meanings if (id_ := find(meaning)) is not None), None)

    def __str__(self) -> str:
        return str(self.meanings[0])


def read_candidates(file: Path, known: Callable[[int | str], int | None]) -> list[Entry]:
    """Read a list of candidates.

    Parameters
    ----------
    file : Path
        ``-`` stands for standard input. One path or id a line; a line that is a JSON object with ``id``, ``path`` or
        ``hits``, as ``semret query --format jsonl`` prints them; a whole JSON document of such; the CSV of ``semret
        query``; or paths that end with zero bytes. UTF-8, UTF-16 or UTF-32 with a byte order mark, any line ends.
    known : callable
        Gives the id of an image, or None: tells a path that begins with a brace from broken JSON.

    Returns
    -------
    list of Entry
        In the order of the list; empty for an empty list.

    Raises
    ------
    ArgumentError
        If the file cannot be read, or a line is broken JSON or an object that names no image.
    """
    data = _read(file)
    text = _decoded(data, file)
    if text is None:
        paths = data.decode("utf-8", "surrogateescape").split("\0")
        return [Entry(f"{file}, entry {n}", (path,)) for n, path in enumerate(paths, 1) if path]
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    if (document := _document(text)) is not None:
        return list(_of_json(document, str(file) if "\n" in text.strip() else f"{file}, line 1"))
    if _is_csv(lines[0]):
        return list(_of_csv(lines, str(file)))
    entries: list[Entry] = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            entries += _of_line(line, f"{file}, line {number}", known)
    return entries


def _read(file: Path) -> bytes:
    try:
        if str(file) == "-":
            data = sys.stdin.buffer.read(MAX_BYTES + 1)
        elif _DESCRIPTOR.fullmatch(str(file)):
            # A pipe that the shell opened for this process, as in --candidates <(find ...), so not a planted file.
            with file.open("rb") as stream:
                data = stream.read(MAX_BYTES + 1)
        else:
            return read_regular(file, most=MAX_BYTES)
    except UnfitFileError as error:
        raise ArgumentError(f"cannot read candidates from {file}: {error.strerror}; pipe it to - instead") from error
    except OSError as error:
        # Asked of a file that was refused for what it is: of others not even that may be answered.
        hint = "; to read a pipe, pipe it to -" if isinstance(error, UnfitFileError) and file.is_fifo() else ""
        raise ArgumentError(f"cannot read candidates from {file}: {error.strerror or error}{hint}") from error
    if len(data) > MAX_BYTES:
        raise ArgumentError(f"cannot read candidates from {file}: has more than {MAX_BYTES} bytes")
    return data


def _decoded(data: bytes, file: Path) -> str | None:
    """Return the text of a list, None if its entries end with zero bytes."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            try:
                return data[len(mark) :].decode(encoding, "surrogateescape" if encoding == "utf-8" else "strict")
            except UnicodeDecodeError as error:
                raise ArgumentError(f"{file} begins as {encoding.upper()} but is not: {error.reason}") from error
    return None if b"\0" in data else data.decode("utf-8", "surrogateescape")


def _document(text: str) -> Any:
    """Return the content of a text that is one JSON object or list as a whole, None of any other text."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, (dict, list)) else None


def _of_json(value: Any, place: str) -> Iterator[Entry]:
    if isinstance(value, list):
        for number, item in enumerate(value, start=1):
            yield from _of_json(item, f"{place}, entry {number}")
    elif isinstance(value, dict) and isinstance(value.get("hits"), list):
        yield from _of_json(value["hits"], place)
    elif _is_path(value) or _is_id(value):
        yield Entry(place, (value,))
    elif isinstance(value, dict) and (copies := _copies(value)):
        for meanings in copies:
            yield Entry(place, meanings)
    elif isinstance(value, dict):
        # Ids are of one index only; a path means the same picture in any. `path` first, then.
        meanings = tuple(
            value[key] for key, fits in (("path", _is_path), ("id", _is_id)) if key in value and fits(value[key])
        )
        if not meanings:
            raise ArgumentError(f'{place} has neither an integer "id" nor a "path", nor "hits" of such')
        yield Entry(place, meanings)
    else:
        raise ArgumentError(f"{place} is {value!r:.40}, expected an id, a path, or an object with one of them")


def _copies(hit: dict[str, Any]) -> list[tuple[int | str, ...]]:
    """Return path and id of each copy that a hit of semret lists; nothing for another object."""
    paths, ids = hit.get("paths"), hit.get("ids")
    if not (isinstance(paths, list) and isinstance(ids, list) and len(paths) == len(ids)):
        return []
    if not (all(map(_is_path, paths)) and all(map(_is_id, ids))):
        return []
    return list(zip(paths, ids, strict=True))


def _is_path(value: Any) -> bool:
    return isinstance(value, str)


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _of_line(line: str, place: str, known: Callable[[int | str], int | None]) -> Iterator[Entry]:
    entry = line.strip()
    if entry.startswith("{"):
        try:
            record = json.loads(entry)
        except (ValueError, RecursionError) as error:
            if known(line) is None:
                reason = f"{error}" if isinstance(error, ValueError) else "too many brackets"
                raise ArgumentError(f"{place} is no JSON object: {reason}") from error
            yield Entry(place, (line,))
        else:
            yield from _of_json(record, place)
    elif entry.isdecimal() and len(entry) <= _DIGITS:
        yield Entry(place, (int(entry), line))
    else:
        yield Entry(place, (line,))


def _is_csv(header: str) -> bool:
    columns = next(csv.reader([header]), [])
    return len(columns) > 1 and ("path" in columns or "id" in columns)


def _of_csv(lines: list[str], place: str) -> Iterator[Entry]:
    rows = csv.DictReader(lines)
    try:
        for row in rows:
            where = f"{place}, line {rows.line_num}"
            path, id_ = row.get("path"), row.get("id") or ""
            # One quote was put before what a spreadsheet would have run.
            path = path.removeprefix("'") if path else None
            number = (int(id_),) if id_.isdecimal() and len(id_) <= _DIGITS else ()
            meanings: tuple[int | str, ...] = ((path,) if path else ()) + number
            if not meanings:
                raise ArgumentError(f'{where} has neither an integer "id" nor a "path"')
            yield Entry(where, meanings)
    except csv.Error as error:
        raise ArgumentError(f"{place}, line {rows.line_num} is no CSV: {error}") from error
