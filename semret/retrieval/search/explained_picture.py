"""What an explanation is of: its two pictures, how they are opened when they are to be shown, and pairs of patches."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from semret.errors import ImageDecodeError
from semret.index.backbones.placement import Box, Placement
from semret.retrieval.search.query_pictures import EncodedImage, ImageLike, OwnFeatures, Seen

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True, kw_only=True)
class ExplainedPicture:
    """One of the two pictures of an explanation.

    Attributes
    ----------
    name : str
        What it is called.
    placement : Placement
        Where its patches lie.
    source : path, EncodedImage, PIL image or ndarray
        Where its pixels are.
    sha256 : str or None
        Of its file when it was compared, hexadecimal; None for pixels.
    id : int or None
        In the index; None for a query.
    """

    name: str
    placement: Placement = field(repr=False)
    source: ImageLike = field(repr=False, compare=False)
    sha256: str | None = field(default=None, repr=False)
    id: int | None = None

    @property
    def label(self) -> str:
        """What it is, and what it is called."""
        return f"query: {self.name}" if self.id is None else f"id {self.id}: {self.name}"

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels of the upright picture."""
        return self.placement.picture

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.placement.grid

    def box_of(self, cell: int) -> Box | None:
        """Return where a patch lies.

        Parameters
        ----------
        cell : int
            Counted row by row.

        Returns
        -------
        (float, float, float, float) or None
            x, y, width and height in pixels; None for a patch of nothing but padding.
        """
        return self.placement.box_of(cell)

    def load(self, edge: int) -> Image.Image:
        """Open the picture as it was compared.

        Parameters
        ----------
        edge : int
            A larger picture may come at a fraction of its size, with both sides at least twice as long as this.

        Returns
        -------
        PIL.Image.Image
            Upright RGB.

        Raises
        ------
        ImageDecodeError
            If it cannot be read, or the file has another content now. The message is the reason alone.
        """
        # Here to keep start-up light: pixels are wanted for drawing alone.
        from semret.index.pictures.contents import read_content
        from semret.index.pictures.decode import as_rgb, decode_image
        from semret.index.pictures.files import reason_of

        if isinstance(self.source, EncodedImage):
            return decode_image(self.source.data, reduce_to=(edge, edge))
        if isinstance(self.source, (OwnFeatures, Seen, int)):
            raise ImageDecodeError("has no pixels: it was given as features")
        if not isinstance(self.source, (str, os.PathLike)):
            return as_rgb(self.source, reduce_to=(edge, edge))
        try:
            content = read_content(self.source)
        except ImageDecodeError as error:
            raise ImageDecodeError(reason_of(error, self.source)) from error
        if content.sha256 != self.sha256:
            raise ImageDecodeError("the file has changed since it was compared")
        return decode_image(content.data, reduce_to=(edge, edge))

    def as_json(self) -> dict[str, Any]:
        """Return the picture for a JSON document.

        Returns
        -------
        dict
            Its id, if it is in the index; its path, or the name of what came from no file; size and grid.
        """
        known = {} if self.id is None else {"id": self.id}
        key = "path" if isinstance(self.source, (str, os.PathLike)) else "name"
        return {**known, key: self.name, "size": list(self.size), "grid": list(self.grid)}


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A patch of the query and the patch of the other picture that it was compared with.

    Attributes
    ----------
    query_cell, image_cell : int
        Counted row by row.
    query_box, image_box : (float, float, float, float) or None
        x, y, width and height in pixels of the upright pictures; None for a patch of nothing but padding.
    share : float
        What the pair adds to the score; it can be negative.
    """

    query_cell: int
    image_cell: int
    query_box: Box | None
    image_box: Box | None
    share: float

    def as_json(self) -> dict[str, Any]:
        """Return the pair for a JSON document.

        Returns
        -------
        dict
        """
        boxes = {
            name: None if box is None else list(box)
            for name, box in (("query_box", self.query_box), ("image_box", self.image_box))
        }
        return {"query_cell": self.query_cell, "image_cell": self.image_cell, **boxes, "share": self.share}
