"""Files cut down to what decoding a picture needs, before any decoder sees them.

Around the pixels a file may hold megabytes that are legal and mean nothing to us: filling, comments, profiles,
previews, films. Some decoders read all of it in loops, keep it, or take a long text for damage. Here it is left out,
and what cannot be left out is bounded; the orientation, which lies there too, is read on the way.
"""

from __future__ import annotations

import itertools
import re
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from semret.errors import ImageDecodeError

MAX_PROLOGUE = 2**24
"""Bytes of a JPEG or GIF before the picture itself begins: metadata, previews, filling."""

MAX_PARTS = 2**17
"""Parts (segments, chunks, blocks, entries) that are looked at in one file."""

MAX_FILLING = 2**17
"""Bytes 0xFF in a row within a JPEG; no segment holds as many."""

MAX_RUNS = 2**24
"""Bytes of a BMP in run lengths, which are decoded one by one."""

_BMP_RUNS = (1, 2)
_MAX_EXIF = 2**20
_MAX_TAGS_BYTES = 2**24
_ORIENTATION = 0x0112
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_END_OF_IMAGE, _START_OF_SCAN = 0xD9, 0xDA
_WITHOUT_LENGTH = (0x01, 0xD8)
_GIF_BLOCK = re.compile(rb"[!,;]")
_XMP = re.compile(rb'tiff:Orientation(?:="|>)([1-8])')
_XMP_IN_JPEG, _XMP_IN_PNG = b"http://ns.adobe.com/xap/1.0/\0", b"XML:com.adobe.xmp\0"
_EXIF_IN_PNG = b"Raw profile type exif\0"
_TIFF = (b"II*\0", b"MM\0*", b"II\0*", b"MM*\0", b"II+\0", b"MM\0+")
_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_TIFF_COUNTS = (279, 325)
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_EITHER_BRANDS = {b"mif1", b"msf1"}


class Plain(NamedTuple):
    """What of a file is decoded.

    `orientation` is that of EXIF, None where only the decoder finds it; `size` is the width and height for which the
    decoder takes memory as soon as it opens the file, None where it waits.
    """

    format: str
    data: bytes
    orientation: int | None = None
    size: tuple[int, int] | None = None


def cut_down(data: bytes) -> Plain | None:
    """Return what has to be decoded of a file; None if it is in no format that is known here.

    Raises
    ------
    ImageDecodeError
        With the reason alone, if what surrounds the picture is more than any real picture has.
    """
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg(data)
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png(data)
    if data.startswith((b"GIF87a", b"GIF89a")):
        return Plain("GIF", _gif(data), 1)
    if data.startswith(_TIFF):
        _check_tiff(data)
        return Plain("TIFF", data, 1)  # turned where it is decoded
    if data.startswith(b"BM"):
        if int.from_bytes(data[30:34], "little") in _BMP_RUNS and len(data) > MAX_RUNS:
            raise ImageDecodeError(f"has more than {MAX_RUNS} bytes of run lengths; save it as PNG")
        return Plain("BMP", data, 1)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return Plain("WEBP", data, size=_webp_size(data))
    if data[4:8] == b"ftyp" and (name := _iso_format(data)):
        return Plain(name, _without_exif(data), 1 if name == "HEIF" else None)
    return None


# -- orientation


def orientation_of(exif: bytes, xmp: bytes = b"") -> int:
    """Return the orientation that EXIF data, or else XMP data, ask for: 1 to 8; damaged data count for nothing."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    try:
        if order is not None:
            (start,) = struct.unpack_from(order + "I", tiff, 4)
            (count,) = struct.unpack_from(order + "H", tiff, start)
            for place in range(start + 2, start + 2 + 12 * count, 12):
                tag, kind, _ = struct.unpack_from(order + "HHI", tiff, place)
                if tag == _ORIENTATION:
                    (value,) = struct.unpack_from(order + {1: "B", 3: "H", 4: "I"}.get(kind, "H"), tiff, place + 8)
                    return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    found = _XMP.search(xmp, 0, _MAX_EXIF)
    return int(found[1]) if found else 1


# -- JPEG


def _jpeg(data: bytes) -> Plain:
    """Keep tables, frame and scans; drop filling, comments and what applications add."""
    kept, exif, xmp = [data[:2]], b"", b""
    position = 2
    for _ in range(MAX_PARTS):
        marker = _JPEG_MARKER.search(data, position, MAX_PROLOGUE)
        if marker is None:
            _refuse_unless_short(data, position)
            raise ImageDecodeError("is damaged: it is truncated before the picture begins")
        code, start = data[marker.end() - 1], marker.end()
        if code == _START_OF_SCAN:
            kept.append(b"\xff")
            plain = b"".join([*kept, memoryview(data)[start - 1 :]])
            _check_filling(plain)
            return Plain("JPEG", plain, orientation_of(exif, xmp))
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


def _refuse_unless_short(data: bytes, position: int) -> None:
    """Refuse a file in which the picture has not begun where it must."""
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

    Markers are followed as a decoder does, so that a preview within the metadata, or what a telephone appends behind
    the picture, counts for nothing. A file of more than `MAX_PARTS` markers counts as one of `enough` scans.
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


# -- PNG


def _png(data: bytes) -> Plain:
    """Keep what decoding needs (critical chunks, and the transparent colour); drop texts, profiles and films."""
    kept, exif, xmp = [memoryview(data)[:8]], b"", b""
    position, view = 8, memoryview(data)
    for _ in range(MAX_PARTS):
        if position + 8 > len(data):
            break
        kind = data[position + 4 : position + 8]
        end = position + 12 + int.from_bytes(data[position : position + 4], "big")
        content = view[position + 8 : end - 4]
        if kind == b"eXIf":
            exif = bytes(content[:_MAX_EXIF])
        elif kind in (b"iTXt", b"zTXt", b"tEXt"):
            exif, xmp = _from_text(kind, bytes(content[:_MAX_EXIF]), exif, xmp)
        if kind[:1].isupper() or kind == b"tRNS":
            kept.append(view[position:end])
        position = end
        if kind == b"IEND":
            break
    else:
        raise ImageDecodeError(f"has more than {MAX_PARTS} chunks; save it again")
    return Plain("PNG", b"".join(kept), orientation_of(exif, xmp))


def _from_text(kind: bytes, content: bytes, exif: bytes, xmp: bytes) -> tuple[bytes, bytes]:
    """Return EXIF and XMP data, with those that a text holds where there were none."""
    if not xmp and kind == b"iTXt" and content.startswith(_XMP_IN_PNG):
        return exif, content
    if not exif and content.startswith(_EXIF_IN_PNG):
        text = content[len(_EXIF_IN_PNG) :]
        try:
            if kind == b"zTXt":
                text = zlib.decompressobj().decompress(text[1:], _MAX_EXIF)
            return bytes.fromhex("".join(text.decode("latin-1").split("\n")[3:])), xmp
        except (zlib.error, ValueError):
            pass
    return exif, xmp


# -- GIF


def _gif(data: bytes) -> bytes:
    """Keep the palette, the transparent colour and what follows from the first frame on."""
    flags = data[10] if len(data) > 10 else 0
    start = position = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    control, parts = b"", 0
    while block := _GIF_BLOCK.search(data, position, MAX_PROLOGUE):
        position = block.start()
        if block[0] != b"!":
            return b"".join([data[:start], control, memoryview(data)[position:]])
        first, position = position, position + 2
        while position < len(data) and data[position]:
            position += 1 + data[position]
            parts += 1
            if parts > MAX_PARTS:
                raise ImageDecodeError(f"has more than {MAX_PARTS} parts before the picture begins; save it again")
        position += 1
        if data[first + 1 : first + 2] == b"\xf9":
            control = data[first:position]
    _refuse_unless_short(data, position)
    raise ImageDecodeError("is damaged: it is truncated before the picture begins")


# -- WebP


def _webp_size(data: bytes) -> tuple[int, int] | None:
    """Return the size of the canvas; a file without one is no larger than its format allows."""
    if data[12:16] != b"VP8X":
        return None
    return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")


# -- TIFF


def _check_tiff(data: bytes) -> None:
    """Refuse a first directory that a decoder would need far more memory, or time, for than the file has bytes."""
    order, is_big = ("<" if data[:2] == b"II" else ">"), 43 in (data[2], data[3])
    try:
        if is_big:
            (start,) = struct.unpack_from(order + "Q", data, 8)
            (count,) = struct.unpack_from(order + "Q", data, start)
            entry, first, inline = order + "HHQQ", start + 8, 8
        else:
            (start,) = struct.unpack_from(order + "I", data, 4)
            (count,) = struct.unpack_from(order + "H", data, start)
            entry, first, inline = order + "HHII", start + 2, 4
    except (struct.error, OverflowError) as error:
        raise ImageDecodeError("is damaged: it is truncated before the picture begins") from error
    if count > MAX_PARTS:
        raise ImageDecodeError(f"has more than {MAX_PARTS} tags; save it again")
    opaque = counted = 0
    for place in range(first, min(first + count * struct.calcsize(entry), len(data)), struct.calcsize(entry)):
        if place + struct.calcsize(entry) > len(data):
            break
        tag, kind, number, offset = struct.unpack_from(entry, data, place)
        size = number * _TIFF_SIZES.get(kind, 1)
        if size <= inline:
            continue
        opaque += size if size <= len(data) else 0  # a decoder leaves out what reaches beyond the end
        counted += size if tag < 0x8000 else 0
        if tag in _TIFF_COUNTS and size <= _MAX_TAGS_BYTES:
            _check_strips(data, order, kind, number, offset)
    if opaque > len(data) or counted > _MAX_TAGS_BYTES:
        raise ImageDecodeError("has tags that overlap or hold more than any picture needs; save it again")


def _check_strips(data: bytes, order: str, kind: int, number: int, offset: int) -> None:
    """Refuse strips or tiles that together are much longer than the file: they would be decoded over and over."""
    code = {3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}.get(kind)
    if code is None or offset + number * struct.calcsize(code) > len(data):
        return
    if sum(struct.unpack_from(f"{order}{number}{code}", data, offset)) > 4 * len(data):
        raise ImageDecodeError("has strips or tiles that overlap; save it again")


# -- HEIF and AVIF


def _iso_format(data: bytes) -> str | None:
    """Return which of the two formats a file is in, by the brands it declares."""
    size = min(int.from_bytes(data[:4], "big"), 4096, len(data))
    major, compatible = data[8:12], {data[place : place + 4] for place in range(16, size - 3, 4)}
    if major in _AVIF_BRANDS or (major in _EITHER_BRANDS and compatible & _AVIF_BRANDS):
        return "AVIF"
    return "HEIF" if major in _HEIF_BRANDS | _EITHER_BRANDS else None


def _without_exif(data: bytes) -> bytes:
    """Give the EXIF item another name: it counts for nothing beside the file's own turns, and may be made to bloat."""
    for start, end, kind in _boxes(data, 0, len(data)):
        if kind != b"meta":
            continue
        for first, last, inner in _boxes(data, start + 4, end):
            if inner == b"iinf" and b"Exif" in data[first:last]:
                return data[:first] + data[first:last].replace(b"Exif", b"skip") + data[last:]
    return data


def _boxes(data: bytes, position: int, end: int) -> list[tuple[int, int, bytes]]:
    """Return beginning and end of the contents of boxes that lie side by side, and their kinds."""
    found: list[tuple[int, int, bytes]] = []
    while position + 8 <= end:
        size, header = int.from_bytes(data[position : position + 4], "big"), 8
        if size == 1:
            size, header = int.from_bytes(data[position + 8 : position + 16], "big"), 16
        last = end if size == 0 else position + size
        if last > end or last < position + header:
            break
        found.append((position + header, last, data[position + 4 : position + 8]))
        if len(found) > MAX_PARTS:
            raise ImageDecodeError(f"has more than {MAX_PARTS} boxes; save it again")
        position = last
    return found
