"""Files cut down to what decoding a picture needs, before any decoder sees them.

Around the pixels a file may hold megabytes that are allowed and useless here: filling, comments, profiles, previews,
films. Some decoders read it byte by byte, keep it in memory, or take a long text for damage. Here it is left out, and
what cannot be left out is bounded. The orientation, which is found in the same places, is read in passing.
"""

from __future__ import annotations

import re
import struct
import zlib
from typing import NamedTuple

from semret.errors import ImageDecodeError
from semret.index.pictures.jpeg import MAX_PARTS, MAX_PROLOGUE, cut_down_jpeg, refuse_unless_short
from semret.index.pictures.orientation import MAX_METADATA, orientation_of

MAX_RUNS = 2**24
"""Bytes of a BMP in run lengths, which are decoded one by one."""

_BMP_RUNS = (1, 2)
_MAX_TAGS_BYTES = 2**24
_GIF_BLOCK = re.compile(rb"[!,;]")
_XMP_IN_PNG = b"XML:com.adobe.xmp\0"
_EXIF_IN_PNG = b"Raw profile type exif\0"
_TIFF = (b"II*\0", b"MM\0*", b"II\0*", b"MM*\0", b"II+\0", b"MM\0+")
_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_TIFF_COUNTS = (279, 325)
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_EITHER_BRANDS = {b"mif1", b"msf1"}


class Plain(NamedTuple):
    """What of a file is decoded.

    Attributes
    ----------
    format : str
        One of `semret.index.pictures.formats.FORMATS`.
    data : bytes
        The file without what decoding does not need.
    orientation : int or None
        As EXIF counts it, 1 to 8; None where only the decoder finds it.
    size : (int, int) or None
        Width and height for which the decoder takes memory as soon as it opens the file; None where it waits.
    """

    format: str
    data: bytes
    orientation: int | None = None
    size: tuple[int, int] | None = None


def cut_down(data: bytes) -> Plain | None:
    """Return what has to be decoded of a file.

    Parameters
    ----------
    data : bytes
        The whole content of the file; may be empty.

    Returns
    -------
    Plain or None
        None if the file is in no format that is known here.

    Raises
    ------
    ImageDecodeError
        With the reason alone, if what surrounds the picture is more than any real picture has.
    """
    if data.startswith(b"\xff\xd8\xff"):
        return Plain("JPEG", *cut_down_jpeg(data))
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
            exif = bytes(content[:MAX_METADATA])
        elif kind in (b"iTXt", b"zTXt", b"tEXt"):
            exif, xmp = _from_text(kind, bytes(content[:MAX_METADATA]), exif, xmp)
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
                text = zlib.decompressobj().decompress(text[1:], MAX_METADATA)
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
    refuse_unless_short(data, position)
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
    """Rename the EXIF item, so that no decoder reads it: other boxes say how to turn the picture."""
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
