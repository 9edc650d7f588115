"""An open index together with the network that made it."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Self

from semret.index.collection import Collection, open_collection
from semret.index.store.manifest import check_compatible
from semret.retrieval.search.reader import IndexReader

if TYPE_CHECKING:
    from semret.index.backbones.spec import Backbone


class EmbeddingReader(IndexReader):
    """An open index whose network can be had; it is loaded when it is first needed, and then kept.

    Parameters
    ----------
    collection : Collection
        The index, opened; see `open_index`.
    weights : path or None
        Checkpoint to load instead of the one that the backbone's name stands for. It must be the one that the index
        was made with.
    device : str or None
        Where the network runs; None chooses.
    """

    def __init__(
        self, collection: Collection, *, weights: str | os.PathLike[str] | None = None, device: str | None = None
    ) -> None:
        super().__init__(collection)
        self._weights = weights
        self._device = device
        self._backbone: Backbone | None = None
        self._loading = threading.Lock()

    def backbone(self) -> Backbone:
        """Return the network that made the index, loading it once.

        Returns
        -------
        Backbone

        Raises
        ------
        IncompatibleIndexError
            If what is installed is not what made the index.
        WeightsNotFoundError
            If the weights cannot be had.
        """
        with self._loading:
            if self._backbone is None:
                # Here to keep start-up light: a picture that is stored needs no network.
                from semret.index.backbones.shared import SharedBackbone
                from semret.index.model_choice import ModelChoice

                loaded = ModelChoice(weights=self._weights, device=self._device).loader(self.collection.path)()
                check_compatible(self.collection.manifest, loaded.identity)
                self._backbone = SharedBackbone(loaded)
            return self._backbone

    def reopened(self) -> Self:
        """Return an engine over the index as it is now, which keeps the network that is loaded if it still fits.

        Returns
        -------
        SearchEngine
            This one goes on answering from what it has.

        Raises
        ------
        IndexNotFoundError, IndexCorruptError, IncompatibleIndexError
            See `open_index`.
        """
        return self._handed_on(
            type(self)(open_collection(self.collection.path), weights=self._weights, device=self._device)
        )

    def _handed_on(self, fresh: Self) -> Self:
        """Give another engine the network that is loaded, if it fits."""
        if fresh.collection.manifest.identity == self.collection.manifest.identity:
            fresh._backbone = self._backbone
        return fresh
