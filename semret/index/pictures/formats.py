"""The picture formats that are decoded, and how a file in one of them is opened."""

from __future__ import annotations

import io

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from semret.index.pictures.containers import Plain
from semret.index.pictures.convert import TURNS
from semret.index.pictures.orientation import orientation_of

_ORIENTATION, _XMP = 0x0112, 700


class _Tiff(TiffImagePlugin.TiffImageFile):
    """A TIFF file that is turned by the orientation tag of its first directory alone.

    Pillow would also read the directories of EXIF data that the file points to, which nothing here keeps within bounds.
    """

    def load_end(self) -> None:
        """Turn what was decoded."""
        orientation, xmp = self.tag_v2.get(_ORIENTATION), self.tag_v2.get(_XMP)
        if not isinstance(orientation, int):
            orientation = orientation_of(b"", xmp if isinstance(xmp, bytes) else b"")
        if (turn := TURNS.get(orientation)) is not None:
            self.im = self.im.transpose(turn)
            self._size = self.im.size


CLASSES: dict[str, type[ImageFile.ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": _Tiff,
    "GIF": GifImagePlugin.GifImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
}
"""Format to the class of Pillow that opens it."""

FORMATS: tuple[str, ...] = (*CLASSES, "HEIF")
"""Formats that are decoded, told by content and not by suffix; nothing that calls another program is among them."""


def open_plain(plain: Plain) -> ImageFile.ImageFile:
    """Open a picture with Pillow's class for its format; `Image.open` would also try formats that are not ours.

    Parameters
    ----------
    plain : Plain
        What `cut_down` kept of a file.

    Returns
    -------
    PIL.ImageFile.ImageFile
        Opened, not loaded; to be closed by the caller.

    Raises
    ------
    Exception
        Of nearly any type, if the header is damaged.
    """
    stream = io.BytesIO(plain.data)
    if plain.format != "HEIF":
        return CLASSES[plain.format](stream)
    # Imported here to keep start-up light, and not registered with Pillow: a program that uses us finds its own Pillow
    # as it was.
    from pillow_heif.as_plugin import HeifImageFile

    opened: ImageFile.ImageFile = HeifImageFile(stream)  # type: ignore[no-untyped-call]
    return opened


def read_orientation(image: ImageFile.ImageFile) -> int:
    """Return the orientation of an opened picture, without reading any other metadata.

    Parameters
    ----------
    image : PIL.ImageFile.ImageFile
        As `open_plain` gives it.

    Returns
    -------
    int
        1 to 8, as EXIF counts them; 1 is upright.
    """
    exif, xmp = image.info.get("exif", b""), image.info.get("xmp", b"")
    # The turns of an AVIF file are told as EXIF by its decoder; others do not count there.
    is_avif = isinstance(image, AvifImagePlugin.AvifImageFile)
    return orientation_of(exif, b"" if is_avif or not isinstance(xmp, bytes) else xmp)
