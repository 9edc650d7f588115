"""SQLite, opened so that a crafted file can neither make it run code nor keep it busy without end."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from semret.errors import StorageError
from semret.index.store.members import damaged

_WAIT = 60.0
_LONGEST = 2**22
_STEP = 100_000
_READING, _CHANGING, _EACH_BYTE = 2 * 10**7, 2 * 10**9, 200
_FULL_CODES = ("SQLITE_FULL", "SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_BUSY", "SQLITE_PERM", "SQLITE_IOERR")


class GuardedConnection(sqlite3.Connection):
    """A connection that interrupts statements which run too long.

    Pages of a crafted file may refer to one another, so that a file of some kilobytes has billions of rows. A statement
    is interrupted after more steps than a file of its size can need.
    """

    _left = 0

    def allow(self, size: int, *, changes: bool = False) -> None:
        """Set how long the next statement may take, by the size of the file that it is about.

        Parameters
        ----------
        size : int
            Bytes of the file.
        changes : bool
            Whether it changes the file; then it may take a hundred times as long.
        """
        steps = (_CHANGING if changes else _READING) + _EACH_BYTE * size
        self._left = steps // _STEP

    def _is_too_much(self) -> bool:
        self._left -= 1
        return self._left < 0


def open_guarded(path: Path, mode: str) -> GuardedConnection:
    """Open a file of SQLite, which may come from somebody else.

    Parameters
    ----------
    path : Path
    mode : {"ro", "rw"}
        For reading alone; or for writing too, which undoes an interrupted commit.

    Returns
    -------
    GuardedConnection

    Raises
    ------
    sqlite3.Error
        If it cannot be opened, or is not a file of SQLite.
    """
    db = sqlite3.connect(
        f"{path.as_uri()}?mode={mode}",
        uri=True,
        timeout=_WAIT,
        isolation_level=None,
        check_same_thread=False,
        factory=GuardedConnection,
    )
    try:
        # No entry is this long, and nothing is ever attached.
        db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST)
        db.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        db.set_progress_handler(db._is_too_much, _STEP)
        db.allow(path.stat().st_size)
        for pragma in ("trusted_schema=OFF", "cell_size_check=ON", "synchronous=EXTRA", "mmap_size=0"):
            db.execute(f"PRAGMA {pragma}")
        db.text_factory = _text
        db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except BaseException:
        db.close()
        raise
    return db


def _text(raw: bytes) -> str:
    # As Python does with file names: the folder of an index may have one that is not UTF-8.
    return raw.decode("utf-8", "surrogateescape")


def text_bytes(text: str) -> bytes:
    """Return what to store for a text that may be a path; it has to be cast to TEXT.

    Parameters
    ----------
    text : str
        May hold undecodable bytes as surrogate escapes.

    Returns
    -------
    bytes
    """
    return text.encode("utf-8", "surrogateescape")


@contextlib.contextmanager
def sqlite_reported(path: Path) -> Iterator[None]:
    """Turn what SQLite raises inside a ``with`` block into an error that names the file and the remedy.

    Parameters
    ----------
    path : Path
        The file.

    Yields
    ------
    None

    Raises
    ------
    StorageError
        If the disk is full, read-only, or refuses access.
    IndexCorruptError
        If the file is damaged, or would keep SQLite busy without end.
    """
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "") or ""
        if name.startswith(_FULL_CODES):
            raise StorageError(
                f"cannot use {path}: {error}; what was committed before is intact; "
                "make room or give access, and run the command again"
            ) from error
        reason = "its pages refer to one another without end" if name == "SQLITE_INTERRUPT" else error
        raise damaged(path, reason) from error
    except UnicodeDecodeError as error:
        # SQLite's own message quotes damaged text, and sqlite3 cannot decode it.
        raise damaged(path, "its text is not UTF-8") from error
