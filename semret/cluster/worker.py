"""What runs on the workers: an actor that holds the network, and puts portions of files through it."""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

from semret._version import __version__
from semret.cluster.portions import Done, Job, Portion, Worker
from semret.errors import ClusterError, SemretError
from semret.index.backbones.features import Features
from semret.index.backbones.spec import Backbone
from semret.index.store.layout import Rows
from semret.index.store.lock import LOCK_NAME
from semret.index.store.manifest import check_compatible
from semret.index.store.staged import StagedSegment, stage_segment
from semret.index.sync.fitting import without_pixels
from semret.index.sync.loading import Loaded, Loader, load_files
from semret.index.sync.pipeline import Embedded, Embedder, Lazy, Result
from semret.index.sync.rows import make_rows


class PortionWorker:
    """Maps portions to what became of them. One actor of the pool.

    Parameters
    ----------
    job : ObjectRef of Job
    known : ObjectRef of ndarray of bytes
        Contents whose features are committed, ascending.
    """

    def __init__(self, job: Any, known: Any) -> None:
        self._job: Job = ray.get(job)
        self._known: NDArray[np.bytes_] = ray.get(known)
        self._network = Lazy(self._load)
        self._worker = Worker(node=ray.util.get_node_ip_address(), process=os.getpid())

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, Any]:
        """Deal with portions.

        Parameters
        ----------
        batch : dict
            ``portion``: pickled `Portion`.

        Returns
        -------
        dict
            ``done``: pickled `Done`, one for each.
        """
        return {"done": [pickle.dumps(self._deal_with(pickle.loads(portion))) for portion in batch["portion"]]}

    def _deal_with(self, portion: Portion) -> Done:
        try:
            self._network.get()
            start = time.perf_counter()
            done = self._write(portion) if self._job.writes else self._embed(portion)
        except SemretError as error:
            return Done(worker=self._worker, error=error)
        return Done(worker=self._worker, seconds=time.perf_counter() - start, **done)

    def _load(self) -> Backbone:
        job = self._job
        node = ray.util.get_node_ip_address()
        if job.version != __version__:
            raise ClusterError(f"{node} has semret {__version__}, the driver {job.version}; install one version on all")
        if job.writes and not (Path(job.index) / LOCK_NAME).is_file():
            raise ClusterError(
                f"{node} does not see {job.index}; put the index on a file system that all computers have at this path"
            )
        backbone = job.load()
        check_compatible(job.manifest, backbone.identity)
        return backbone

    def _embed(self, portion: Portion) -> dict[str, Any]:
        return {"embedded": list(self._through_network(portion, lambda _, features: features))}

    def _write(self, portion: Portion) -> dict[str, Any]:
        ids = {found.path: portion.first_id + place for place, found in enumerate(portion.files)}
        files: list[Loaded] = []
        parts: list[Rows] = []
        written: dict[bytes, int] = {}

        def finish(pictures: list[Loaded], features: Features) -> Rows:
            return make_rows(self._job.manifest, self._job.codec, pictures, features)

        for embedded in self._through_network(portion, finish):
            files += embedded.files
            if embedded.result is None:
                continue
            for row, loaded in enumerate(embedded.pictures):
                embedded.result.ids[row] = written[loaded.sha256 or b""] = ids[loaded.path]
            parts.append(embedded.result)
        staged: StagedSegment | None = None
        if parts:
            staged = stage_segment(Path(self._job.index), self._job.manifest, parts)
        return {"files": files, "ids": written, "staged": staged}

    def _through_network(
        self, portion: Portion, finish: Callable[[list[Loaded], Features], Result]
    ) -> Iterator[Embedded[Result]]:
        """Load and embed the files of a portion; each content once."""
        contents: set[bytes] = set()

        def is_known(sha256: bytes) -> bool:
            return sha256 in contents or self._is_committed(sha256)

        job = self._job
        loader = Loader(self._network.get, is_known, job.size)
        ahead = job.threads + 2 * job.batch_size
        with Embedder(self._network.get, finish, batch_size=job.batch_size, is_known=is_known) as embedder:
            for loaded in load_files(loader, portion.files, workers=job.threads, ahead=ahead):
                ready: Iterator[Embedded[Result]] = embedder.rest() if loaded is None else embedder.add(loaded)
                for embedded in ready:
                    contents.update(picture.sha256 for picture in embedded.pictures if picture.sha256 is not None)
                    yield without_pixels(embedded)
            for embedded in embedder.rest():
                yield without_pixels(embedded)

    def _is_committed(self, sha256: bytes) -> bool:
        # Bytes of this dtype compare without their last zeros; as all have the same length, equal is equal.
        wanted = np.array(sha256, dtype=self._known.dtype)
        place = int(np.searchsorted(self._known, wanted))
        return place < len(self._known) and bool(self._known[place] == wanted)
