"""How a picture has to be turned: the one thing that is read of EXIF and XMP data, whatever else they hold."""

from __future__ import annotations

import re
import struct

MAX_METADATA = 2**20
"""Bytes of EXIF or XMP data that are looked at."""

_TAG = 0x0112
_XMP = re.compile(rb'tiff:Orientation(?:="|>)([1-8])')


def orientation_of(exif: bytes, xmp: bytes = b"") -> int:
    """Return the orientation that EXIF data, or else XMP data, ask for; damaged data are ignored.

    Parameters
    ----------
    exif : bytes
        With or without the heading that EXIF data have in a JPEG; empty if there are none.
    xmp : bytes
        Of which the first `MAX_METADATA` bytes are looked at.

    Returns
    -------
    int
        1 to 8, as EXIF counts them; 1 is upright.
    """
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    try:
        if order is not None:
            (start,) = struct.unpack_from(order + "I", tiff, 4)
            (count,) = struct.unpack_from(order + "H", tiff, start)
            for place in range(start + 2, start + 2 + 12 * count, 12):
                tag, kind, _ = struct.unpack_from(order + "HHI", tiff, place)
                if tag == _TAG:
                    (value,) = struct.unpack_from(order + {1: "B", 3: "H", 4: "I"}.get(kind, "H"), tiff, place + 8)
                    return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    found = _XMP.search(xmp, 0, MAX_METADATA)
    return int(found[1]) if found else 1
