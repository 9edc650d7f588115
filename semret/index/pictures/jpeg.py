"""JPEG files as sequences of markers: what of them is decoded, and how many scans they have."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from semret.errors import ImageDecodeError
from semret.index.pictures.orientation import orientation_of

MAX_PROLOGUE = 2**24
"""Bytes of a JPEG or GIF before the picture itself begins: metadata, previews, filling."""

MAX_PARTS = 2**17
"""Parts (segments, chunks, blocks, entries) that are looked at in one file."""

MAX_FILLING = 2**17
"""Bytes 0xFF in a row within a JPEG; no segment holds as many."""

_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_END_OF_IMAGE, _START_OF_SCAN = 0xD9, 0xDA
_WITHOUT_LENGTH = (0x01, 0xD8)
_XMP_IN_JPEG = b"http://ns.adobe.com/xap/1.0/\0"


def cut_down_jpeg(data: bytes) -> tuple[bytes, int]:
    """Keep tables, frame and scans; drop filling, comments and what applications add.

    Parameters
    ----------
    data : bytes
        A file that begins as a JPEG.

    Returns
    -------
    plain : bytes
        What is decoded.
    orientation : int
        As EXIF counts it, 1 to 8.

    Raises
    ------
    ImageDecodeError
        With the reason alone, if there is more around the picture than any real picture has.
    """
    kept, exif, xmp = [data[:2]], b"", b""
    position = 2
    for _ in range(MAX_PARTS):
        marker = _JPEG_MARKER.search(data, position, MAX_PROLOGUE)
        if marker is None:
            refuse_unless_short(data, position)
            raise ImageDecodeError("is damaged: it is truncated before the picture begins")
        code, start = data[marker.end() - 1], marker.end()
        if code == _START_OF_SCAN:
            kept.append(b"\xff")
            plain = b"".join([*kept, memoryview(data)[start - 1 :]])
            _check_filling(plain)
            return plain, orientation_of(exif, xmp)
        if code == _END_OF_IMAGE:
            raise ImageDecodeError("is damaged: it ends before the picture begins")
        position = start if code in _WITHOUT_LENGTH else start + max(2, int.from_bytes(data[start : start + 2], "big"))
        content = data[start + 2 : position]
        if code == 0xE1 and content.startswith(b"Exif\0\0"):
            exif = exif or content
        elif code == 0xE1 and content.startswith(_XMP_IN_JPEG):
            xmp = xmp or content
        if not _is_foreign_segment(code, content):
            kept.append(b"\xff" + data[start - 1 : position])
    raise ImageDecodeError(f"has more than {MAX_PARTS} parts before the picture begins; save it again")


def refuse_unless_short(data: bytes, position: int) -> None:
    """Refuse a file if its picture has not begun within the first `MAX_PROLOGUE` bytes.

    Parameters
    ----------
    data : bytes
        The whole file.
    position : int
        Where the part begins that would come next.

    Raises
    ------
    ImageDecodeError
        With the reason alone, if the file, or the part that would come next, reaches beyond that.
    """
    if max(position, len(data)) > MAX_PROLOGUE:
        raise ImageDecodeError(f"has more than {MAX_PROLOGUE} bytes before the picture begins; save it again")


def _is_foreign_segment(code: int, content: bytes) -> bool:
    """Tell whether a segment says nothing about how to decode the pixels."""
    if code == 0xE0:
        return not content.startswith(b"JFIF\0")
    if code == 0xEE:
        return not content.startswith(b"Adobe")
    return 0xE1 <= code <= 0xEF or code == 0xFE


def count_scans(data: bytes, enough: int) -> int:
    """Return the number of scans in a JPEG file, counting no further than `enough`.

    Markers are followed as a decoder does, so that a preview within the metadata, or what a telephone appends after the
    picture, is not counted.

    Parameters
    ----------
    data : bytes
        A whole file, or any other bytes.
    enough : int
        Where to stop.

    Returns
    -------
    int
        0 to `enough`; `enough` also for a file of more than `MAX_PARTS` markers.
    """
    scans = 0
    for number, (code, _) in enumerate(_markers(data)):
        scans = enough if number > MAX_PARTS else scans + (code == _START_OF_SCAN)
        if scans >= enough or code == _END_OF_IMAGE:
            break
    return scans


def _markers(data: bytes) -> Iterator[tuple[int, int]]:
    """Give the code and the place of each marker, without those of restarts."""
    position = 2
    while marker := _JPEG_MARKER.search(data, position):
        code, position = data[marker.end() - 1], marker.end()
        yield code, marker.start()
        if code not in _WITHOUT_LENGTH:
            position += int.from_bytes(data[position : position + 2], "big")


def _check_filling(data: bytes) -> None:
    """Refuse filling within the picture; a decoder that is fed piece by piece begins again with each piece."""
    filling = data.find(b"\xff" * MAX_FILLING)
    if filling < 0:
        return
    markers = itertools.islice(_markers(data), MAX_PARTS)
    if filling < next((place for code, place in markers if code == _END_OF_IMAGE), len(data)):
        raise ImageDecodeError(f"has more than {MAX_FILLING} bytes of filling within the picture; save it again")
