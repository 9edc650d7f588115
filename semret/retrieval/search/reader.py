"""An index that is open: its images by number and name, and what is stored of them."""

from __future__ import annotations

from typing import Literal, Self, overload

from semret.arrays import FloatArray, IdVector
from semret.errors import IndexEmptyError
from semret.index.collection import Collection
from semret.integer_tokens import IntegerTokens
from semret.retrieval.search.filters import Places
from semret.retrieval.search.lookup import Candidate, Images, Lookup
from semret.retrieval.search.stored import Representations, stored_maps


class IndexReader:
    """What an open index gives without a question: ids, paths, and token maps as arrays.

    Parameters
    ----------
    collection : Collection
        The index, opened.

    Attributes
    ----------
    places : Places
        Where its images lie.
    """

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        self.places = Places(collection)
        self._lookup = Lookup(collection)

    def __repr__(self) -> str:
        identity = self.collection.manifest.identity
        return f"<{type(self).__name__}: {len(self)} images, {identity.backbone}, {self.collection.path}>"

    def __len__(self) -> int:
        """Return the number of images in the index."""
        return len(self.collection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def find(self, candidate: Candidate) -> int | None:
        """Find the image that an id or a path stands for, as `rerank` understands it.

        Parameters
        ----------
        candidate : int or path

        Returns
        -------
        int or None
            Its id; None if the index has no such image.
        """
        return self._lookup.find(candidate)

    def require_images(self) -> None:
        """Refuse to go on without pictures.

        Raises
        ------
        IndexEmptyError
            If the index holds none.
        """
        if not len(self):
            raise IndexEmptyError(f"the index {self.collection.path} is empty; run semret index PATH to fill it")

    def close(self) -> None:
        """Let go of the index, so that a writer may delete what this generation alone needs; also ends a ``with``."""
        self.collection.close()

    @property
    def ids(self) -> IdVector:
        """Ids of all images, ascending, (N,) int64."""
        return self.collection.ids

    @property
    def paths(self) -> list[str]:
        """Where all images lie, in the order of `ids`, as hits show it."""
        return self.collection.paths(self.collection.ids)

    @property
    def representations(self) -> Representations:
        """The token maps of all images, in the order of `ids`, as `semret.rsm` reads them: by slices."""
        return Representations(self.collection)

    @overload
    def tokens(
        self, images: Images | None = ..., *, center: str = ..., integers: Literal[False] = ...
    ) -> FloatArray: ...
    @overload
    def tokens(self, images: Images | None = ..., *, integers: Literal[True]) -> IntegerTokens: ...
    def tokens(
        self, images: Images | None = None, *, center: str = "none", integers: bool = False
    ) -> FloatArray | IntegerTokens:
        """Return the stored token maps of images; only theirs are read.

        Parameters
        ----------
        images : id, path or Hit, or a sequence of them; None takes all images, in the order of `ids`
            n of them, in any order; one may come twice. Paths are understood as by `rerank`.
        center : {"none", "channel"}
            What is left of the mean token: all of it, or nothing, as images are compared by default. With a codec the
            mean is that of the images that it was fitted on, and with ``none`` maps have one channel more than the
            codec has directions: inner products are those of the tokens as decoded.
        integers : bool
            Whether to return what a codec stores, with scales: the mean subtracted.

        Returns
        -------
        ndarray of shape (n, S, C), in the stored dtype, float32 where it is computed; or IntegerTokens

        Raises
        ------
        ArgumentError
            If an image is not in the index, all maps take more memory than there is, or `integers` are asked for and
            the index stores floats.
        UnknownNameError
            If there is no such centre.
        IndexCorruptError
            If what is read is damaged.
        """
        ids = self.ids if images is None else self._lookup.each(images)
        return stored_maps(self.collection, ids, center=center, integers=integers)
