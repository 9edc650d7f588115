"""The picture of a hit: its file, opened as at indexing, if it still is what was indexed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from semret.errors import ImageDecodeError

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class Original:
    """Where the files of one content lay when they were indexed, and what they held.

    Attributes
    ----------
    paths : tuple of str
        Absolute.
    sha256 : str
        Of the content, in hexadecimal.
    """

    paths: tuple[str, ...]
    sha256: str

    def open(self) -> Image.Image:
        """Decode the first of the files that is there and unchanged.

        Returns
        -------
        PIL.Image.Image
            Upright RGB, at full size.

        Raises
        ------
        ImageDecodeError
            If none is: what is the matter with the first.
        """
        # Here to keep start-up light: most hits are not opened.
        from semret.index.pictures.contents import read_content
        from semret.index.pictures.decode import decode_image
        from semret.index.pictures.files import unreadable

        refused: list[ImageDecodeError] = []
        for path in self.paths:
            try:
                content = read_content(path)
                if content.sha256 == self.sha256:
                    return decode_image(content.data)
                raise unreadable(path, "is no longer what was indexed; run semret index to bring the index up to date")
            except ImageDecodeError as error:
                refused.append(error)
        raise refused[0] if refused else ImageDecodeError("the hit was made without an index, so it has no picture")


def original_of(paths: Sequence[str], sha256: str) -> Original:
    """Return the original of a hit, to be opened whatever the current directory is by then.

    Parameters
    ----------
    paths : sequence of str
        As shown.
    sha256 : str

    Returns
    -------
    Original
    """
    from semret.paths import located

    return Original(tuple(located(path) for path in paths), sha256)
