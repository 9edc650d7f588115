"""Whether a search over all images of an index is narrowed on a GPU, and what is kept there."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING

from semret.arrays import IdVector, IndexVector
from semret.errors import ArgumentError
from semret.index.codec.table import NO_CODEC
from semret.index.collection import Collection
from semret.retrieval.search.options import SearchOptions
from semret.retrieval.search.rerank import Narrow
from semret.retrieval.similarity.integer_maps import IntegerMaps

if TYPE_CHECKING:
    from semret.retrieval.search.device_maps import MapsOnDevice

KINDS = ("cuda",)
"""Devices on which maps are compared; on others there is only the network."""


class DeviceSearch:
    """The maps of a collection on the device of an engine; they are put there by the first search that needs them.

    Safe for several threads: one moves the maps, and searches on the device take turns.

    Parameters
    ----------
    collection : Collection
    device : str or None
        As it was asked for; None, like every device that is none of `KINDS`, leaves all to the processor.
    """

    def __init__(self, collection: Collection, device: str | None) -> None:
        self._collection = collection
        self._device = device if device is not None and device.partition(":")[0] in KINDS else None
        self._guard = threading.Lock()
        self._maps: MapsOnDevice | None = None
        self._reason: str | None = None

    @property
    def device(self) -> str | None:
        """Where exhaustive searches are narrowed, if they may be."""
        return self._device

    @property
    def is_ready(self) -> bool:
        """Whether maps are compared on the device."""
        return self._device is not None and self.why_not is None

    @property
    def why_not(self) -> str | None:
        """Why maps are not compared on the device, in words; None where they are, or there is no device."""
        if self._device is None:
            return None
        if self._collection.manifest.codec == NO_CODEC:
            return "maps of floats are compared on the processor; a codec's are compared on a device"
        if self._reason is None:
            from semret.retrieval.similarity.device_tiles import require_device

            try:
                require_device(self._device)
                self._reason = ""
            except ArgumentError as error:
                self._reason = str(error)
        return self._reason or None

    def describe(self) -> str | None:
        """Say what is compared on the device.

        Returns
        -------
        str or None
            None without a device.
        """
        if self._device is None:
            return None
        if (reason := self.why_not) is not None:
            return f"nothing on {self._device}: {reason}"
        return f"no maps on {self._device} yet" if self._maps is None else f"{self._maps}"

    def fitting(self) -> str:
        """Say how many maps would be kept on the device now.

        Returns
        -------
        str
        """
        if self._device is None:
            return f"searches are narrowed on {' and '.join(KINDS)} devices alone"
        if (reason := self.why_not) is not None:
            return f"nothing on {self._device}: {reason}"
        from semret.retrieval.search.device_maps import fitting

        total = len(self._collection)
        kept = fitting(total, self._collection.source([]).shape, self._device)
        return f"{'all' if kept == total else f'{kept:,} of'} {total:,} maps fit on {self._device}"

    def narrow(self, options: SearchOptions, count: int) -> Narrow | None:
        """Return what rules candidates out on the device, for a search of so many.

        Parameters
        ----------
        options : SearchOptions
        count : int
            Of the candidates.

        Returns
        -------
        callable or None
            None where the processor compares: a shortlist, another centre than the codec's, floats, no device.
        """
        wanted = options.compares_all and options.center == "channel" and options.invariance == "permutation"
        if not wanted or count <= options.k or not self.is_ready:
            return None
        return partial(self._left, levelled=options.scores_query)

    def _left(
        self, query: IntegerMaps, ids: IdVector, *, k: int, kernel: str, sigma: float | None, levelled: bool
    ) -> IndexVector:
        with self._guard:
            if self._maps is None:
                from semret.retrieval.search.device_maps import MapsOnDevice

                self._maps = MapsOnDevice(self._collection.source(self._collection.ids), str(self._device))
            return self._maps.left(query, ids, k=k, kernel=kernel, sigma=sigma, levelled=levelled)


def usable(device: str | None) -> str | None:
    """Return a device on which matchings can be computed, if this is one.

    Parameters
    ----------
    device : str or None
        As it was asked for, for the network above all.

    Returns
    -------
    str or None
        None stands for the processor.
    """
    if device is None or device.partition(":")[0] not in KINDS:
        return None
    from semret.retrieval.matching.cuda import why_unavailable

    return device if why_unavailable(device.partition(":")[0]) is None else None
