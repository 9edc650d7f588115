"""An index that is open: its images by number and name, and what is stored of them."""

from __future__ import annotations

from typing import Literal, Self, overload

from semret.arrays import Float32Array, FloatArray, IdVector
from semret.errors import IndexEmptyError
from semret.index.collection import Collection
from semret.integer_tokens import IntegerTokens
from semret.paths import PathLike
from semret.progress import Progress, told
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
        return f"<{type(self).__name__}: {len(self)} images, {identity.backbone}, {self.collection.name}>"

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
            raise IndexEmptyError(f"the index {self.collection.name} is empty; run semret index PATH to fill it")

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

    def pooled(self, images: Images | None = None) -> Float32Array:
        """Return the pooled embeddings of images as the shortlist compares them, for a vector database of your own.

        Parameters
        ----------
        images : id, path or Hit, or a sequence of them; None takes all images, in the order of `ids`
            n of them, as for `tokens`.

        Returns
        -------
        ndarray of shape (n, D), float32
            The mean subtracted, scaled to length 1; zeros where an embedding is the mean itself. With a codec the mean
            never changes; without one it is that of the images in the index now.

        Raises
        ------
        ArgumentError
            If an image is not in the index.
        IndexCorruptError
            If what is read is damaged.
        """
        ids = self.ids if images is None else self._lookup.each(images)
        return self.collection.nearest.unit_vectors(self.collection.rows(ids))

    def write_tokens(
        self,
        path: PathLike,
        images: Images | None = None,
        *,
        center: str = "none",
        integers: bool = False,
        pooled: bool = False,
        progress: Progress | bool | None = None,
    ) -> tuple[int, ...]:
        """Write stored maps, or pooled embeddings, for other programs; an interrupted write leaves what was there.

        Only some images are held in memory at a time. ``.npy`` holds the numbers alone; ``.npz`` ``tokens``,
        ``integers`` and ``scales``, or ``pooled``, with ``ids``, ``paths`` and ``metadata``; ``.parquet`` and
        ``.lance`` have a row for each image: ``id``, ``path``, ``sha256``, ``width``, ``height``, ``pooled``, and the
        maps unless `pooled`. Paths are written as they are printed, see `semret.names.escaped`.

        Parameters
        ----------
        path : path
            Its suffix decides. Over a Lance data set that exists its next version is written.
        images : id, path or Hit, or a sequence of them; None takes all images, in the order of `ids`
            n of them, as for `tokens`.
        center, integers
            See `tokens`.
        pooled : bool
            Whether to write the pooled embeddings, as `pooled` gives them, and no maps.
        progress : callable, bool or None
            Called with the number of images written and their total; True draws a bar.

        Returns
        -------
        tuple of int
            (n, S, C), the shape of the maps; or (n, D).

        Raises
        ------
        ArgumentError, UnknownNameError
            If the name has another suffix, what is there already is read or of another kind, or the index has no such
            features.
        MissingDependencyError
            If pyarrow or pylance is needed and not installed.
        StorageError
            If the file cannot be written.
        IndexCorruptError
            If what is read is damaged.
        """
        # Here to keep start-up light: it reads archives.
        from semret.retrieval.search.token_files import write_tokens

        ids = self.ids if images is None else self._lookup.each(images)
        with told(progress, "writing") as tell:
            return write_tokens(
                path, self.collection, ids, center=center, integers=integers, pooled=pooled, progress=tell
            )
