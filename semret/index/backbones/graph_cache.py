"""Graphs that are written once per installation: where they lie, whether they may be trusted, how they are made.

A file is named after the digest of everything that its content depends on, begins with its own digest, and is renamed
into place when it is whole. One that is damaged, or that somebody else could have written, counts as missing.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from platformdirs import user_cache_path

from semret.foreign import is_ours, read_regular
from semret.progress import rare_wait

logger = logging.getLogger(__name__)

_MAGIC = b"semret graph 1\n"
_LARGEST = 2**28
"""Bytes of a graph; the default backbone's has 18 million."""


_said: list[str] = []
"""What this process has warned of."""


def graph_folder() -> Path:
    """Return the folder that graphs are kept in: ``graphs`` in the user's cache of semret.

    Returns
    -------
    Path
    """
    return user_cache_path("semret", appauthor=False) / "graphs"


def cached_graph(title: str, depends_on: tuple[str, ...], make: Callable[[], bytes]) -> bytes:
    """Return a graph from the cache, or make it and keep it there.

    Parameters
    ----------
    title : str
        How the file's name begins.
    depends_on : tuple of str
        Digests and versions; a graph made from others is not used.
    make : callable
        Makes the graph; called where none is kept, and shown as a rare wait. Where none can be kept it is called in
        every process, and a warning says so.

    Returns
    -------
    bytes
    """
    try:
        file = _file_of(title, depends_on)
    except (RuntimeError, OSError):  # no home
        return make()
    found = _read(file)
    if found is None:
        with rare_wait(f"preparing {title}") as is_shown:
            if not is_shown:
                logger.warning("writing the graph of %s; this happens once per installation", title)
            found = make()
        if not _write(file, found) and not _said:
            _said.append(title)
            logger.warning(
                "%s is prepared anew by every process, for %s cannot be written; "
                "set XDG_CACHE_HOME to a folder of yours",
                title,
                file.parent,
            )
    return found


def is_cached(title: str, depends_on: tuple[str, ...]) -> bool:
    """Tell whether `cached_graph` would find a graph.

    Parameters
    ----------
    title, depends_on
        See `cached_graph`.

    Returns
    -------
    bool
    """
    try:
        return _read(_file_of(title, depends_on)) is not None
    except (RuntimeError, OSError):
        return False


def _file_of(title: str, depends_on: tuple[str, ...]) -> Path:
    key = hashlib.sha256("\n".join((title, *depends_on)).encode()).hexdigest()
    return graph_folder() / f"{title}-{key[:24]}.onnx"


def _read(file: Path) -> bytes | None:
    try:
        if not (is_ours(file.parent.lstat()) and is_ours(file.lstat())):
            return None
        content = read_regular(file, most=_LARGEST, follow=False)
    except OSError:
        return None
    magic, digest, graph = content[: len(_MAGIC)], content[len(_MAGIC) :][:32], content[len(_MAGIC) + 32 :]
    return graph if magic == _MAGIC and digest == hashlib.sha256(graph).digest() else None


def _write(file: Path, graph: bytes) -> bool:
    """Keep a graph; return whether it could be kept. Processes that do so at once leave one whole file."""
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not is_ours(file.parent.lstat()):
            return False
        descriptor, name = tempfile.mkstemp(dir=file.parent, suffix=".tmp")
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(_MAGIC + hashlib.sha256(graph).digest() + graph)
                stream.flush()
                os.fsync(stream.fileno())
            Path(name).replace(file)
        except OSError:
            with contextlib.suppress(OSError):
                Path(name).unlink()
            raise
    except OSError:
        return False
    return True
