"""Small grey pictures of an index's images, read from their files if these still are what was indexed."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from semret.arrays import Float64Array
from semret.errors import ImageDecodeError
from semret.index.backbones.preprocess import prepare_image, with_size
from semret.index.collection import Collection
from semret.index.pictures.contents import read_content
from semret.index.pictures.decode import decode_image
from semret.retrieval.duplicates.pixels import BLOCK

SHORT_SIDE = 96
"""Pixels of the shorter side: enough to see a thing moved by a hundredth of the picture."""

_KEPT = 256
_GREY = np.array([0.299, 0.587, 0.114])


class SmallPictures:
    """The images of a collection as the network saw them, but small and grey.

    Parameters
    ----------
    collection : Collection

    Attributes
    ----------
    refused : set of int
        Positions of images whose file could not be read, or is not what was indexed.
    """

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        height, width = collection.manifest.identity.preprocessing.size
        scale = SHORT_SIDE / min(height, width)
        size = tuple(BLOCK * round(scale * side / BLOCK) for side in (height, width))
        plain = replace(collection.manifest.identity.preprocessing, mean=(0.0,) * 3, std=(1.0,) * 3)
        self._preprocessing = with_size(plain, (size[0], size[1]))
        self.refused: set[int] = set()
        self.of = lru_cache(maxsize=_KEPT)(self._read)

    def _read(self, row: int) -> Float64Array | None:
        """Return the picture at a position, (H, W) from 0 to 1; None if there is none any more."""
        id_ = self._collection.ids[[row]]
        (path,), (sha256,) = self._collection.paths(id_), self._collection.hashes(id_)
        try:
            content = read_content(path)
            if content.sha256 == sha256:
                picture = decode_image(content.data, reduce_to=self._preprocessing.size)
                prepared = prepare_image(picture, self._preprocessing)
                return np.asarray(np.tensordot(_GREY, prepared, axes=1), dtype=np.float64)
        except ImageDecodeError:
            pass
        self.refused.add(row)
        return None
