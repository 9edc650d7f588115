"""The bytes of a picture that a user names: a file, standard input, or an address on the web."""

from __future__ import annotations

import os
import re
import sys
from typing import BinaryIO

from semret.index.pictures.files import MAX_BYTES, read_file, unreadable

STANDARD_INPUT = "-"
"""Stands for standard input; a file of this name is given as ``./-``."""

_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_BARE = re.compile(r"(data|file|https?|ftp|s3):", re.IGNORECASE)
_PART = 2**16


def read_source(text: str) -> bytes:
    """Return the content of a picture named on a command line.

    Parameters
    ----------
    text : str
        ``-`` for standard input, an http or https address, or else the path of a file.

    Returns
    -------
    bytes
        At least one and at most `MAX_BYTES`.

    Raises
    ------
    ImageDecodeError
        If it cannot be read, is empty or too long; the message is ``SOURCE: REASON``.
    """
    if text == STANDARD_INPUT:
        return read_stream(sys.stdin.buffer if sys.stdin is not None else None)
    if is_address(text):
        # Sockets and TLS take a while to import, and most pictures are files.
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
    if _ADDRESS.match(text):
        return True
    return _BARE.match(text) is not None and not os.path.lexists(text)


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
