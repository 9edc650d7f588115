"""Files that look like pictures or films and are not read: by their endings, so that a walk can count them."""

from __future__ import annotations

_ENDINGS = {
    "RAW": (
        "3fr arw cr2 cr3 crw dcr dng erf fff gpr iiq k25 kdc mdc mef mrw nef nrw orf ori pef raf raw rw2 rwl sr2 srf"
        " srw x3f"
    ),
    "JPEG XL": "jxl",
    "JPEG 2000": "j2c j2k jp2 jpc jpf jpx",
    "Photoshop": "psb psd",
    "vector graphics": "ai cdr emf eps svg svgz wmf",
    "video": (
        "3g2 3gp avi f4v flv h264 hevc insv m2ts m2v m4v mkv mov mp4 mpe mpeg mpg mts mxf ogm ogv rmvb vob webm wmv"
    ),
    "other pictures": (
        "cur dcm dcx dds djvu dpx exr fits flif hdr icns ico insp jbig2 jng jxr mng ora pbm pcx pgm pict pnm"
        " ppm procreate qoi sgi tga wbmp wdp xbm xcf xpm"
    ),
}

_KINDS = {f".{ending}": kind for kind, endings in _ENDINGS.items() for ending in endings.split()}


def unread_kind(suffix: str) -> str | None:
    """Return the kind of a file that is a picture or film, but not one that is read, by its suffix.

    Parameters
    ----------
    suffix : str
        In lower case, with its dot.

    Returns
    -------
    str or None
        None for pictures that are read, and for files that are no pictures.
    """
    return _KINDS.get(suffix)
