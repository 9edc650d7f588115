"""The bytes of a picture that a user names: a file, standard input, or an address on the web."""

from __future__ import annotations

import os
import re
import sys
from typing import BinaryIO

from semret import paths
from semret.index.pictures.files import MAX_BYTES, read_file, unreadable

STANDARD_INPUT = "-"
"""Stands for standard input; a file of this name is given as ``./-``."""

_WEB = re.compile(r"https?:", re.IGNORECASE)
_BARE = re.compile(r"(data|file|https?|ftp|s3):", re.IGNORECASE)
_PART = 2**16


def read_source(text: str) -> bytes:
    """Return the content of a picture named on a command line.

    Parameters
    ----------
    text : str
        ``-`` for standard input, an address of the web or of a store, or else the path of a file.

    Returns
    -------
    bytes
        At least one and at most `MAX_BYTES`.

    Raises
    ------
    ImageDecodeError
        If it cannot be read, is empty or too long; the message is ``SOURCE: REASON``.
    MissingDependencyError
        If no package for such addresses is installed.
    """
    if text == STANDARD_INPUT:
        return read_stream(sys.stdin.buffer if sys.stdin is not None else None)
    if paths.is_address(text) and not _WEB.match(text):
        # This takes a while to import, as sockets and TLS below, and most pictures are files.
        from semret.index.pictures.find import FoundImage
        from semret.index.pictures.remote import read_remote

        return read_remote(FoundImage(text, -1, -1)).data
    if is_address(text):
        from semret.index.pictures.web import fetch

        return fetch(text)
    return read_file(text).data


def is_address(text: str) -> bool:
    """Tell whether a text names something on the web, or by another scheme, rather than a file.

    Parameters
    ----------
    text : str
        As typed. ``http:photo.jpg`` is a file if there is one of that name.

    Returns
    -------
    bool
    """
    return paths.is_address(text) or (_BARE.match(text) is not None and not os.path.lexists(text))


def read_stream(stream: BinaryIO | None) -> bytes:
    """Return what is piped into standard input.

    Parameters
    ----------
    stream : binary file or None
        Standard input; None if the process has none.

    Returns
    -------
    bytes
        At least one and at most `MAX_BYTES`.

    Raises
    ------
    ImageDecodeError
        If it is closed, a terminal, empty, or longer than `MAX_BYTES`.
    """
    name = "standard input"
    try:
        if stream is None or stream.closed:
            raise unreadable(name, "is closed; pipe a picture into it")
        if stream.isatty():
            raise unreadable(name, "is a terminal; pipe a picture into it, as in: semret query - < picture.jpg")
        parts, left = [], MAX_BYTES + 1
        while left and (part := stream.read(min(left, _PART))):
            parts.append(part)
            left -= len(part)
    except OSError as error:
        raise unreadable(name, error.strerror or str(error)) from error
    if not left:
        raise unreadable(name, f"has more than the limit of {MAX_BYTES} bytes")
    if not parts:
        raise unreadable(name, "is empty")
    return b"".join(parts)
