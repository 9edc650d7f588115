"""The run of a sync on a cluster: workers embed and write, this process alone commits.

The first pictures of a new index come back as features: the codec is fitted on them here, in the same way and on the
same pictures as on one machine. All others become segments that workers write; here they are entered into the catalog.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from semret._version import __version__
from semret.cluster.portions import Done, Job, Portion
from semret.cluster.rates import Rates
from semret.errors import ClusterError
from semret.index.backbones.features import Features
from semret.index.backbones.spec import Backbone
from semret.index.codec.table import NO_CODEC
from semret.index.store.codec_file import write_codec
from semret.index.store.layout import SEGMENT_BYTES
from semret.index.store.staged import discard_leftovers
from semret.index.sync.fitting import FitSample, Network
from semret.index.sync.found_files import FoundFiles
from semret.index.sync.pipeline import Embedded
from semret.index.sync.rows import make_rows
from semret.index.sync.run import Work

ROUND_FILES = 2**17
"""Files whose names are in memory at one time; after so many the pool of workers is made anew."""

_FIRST = 64
_SAMPLE_PORTION = 16
_SAMPLE_BYTES = 2**25


class Pool(Protocol):
    """What maps portions to what became of them; `semret.cluster.pool.Pool`."""

    def map(self, job: Job, known: NDArray[np.bytes_], portions: list[Portion]) -> Iterator[Done]:
        """Have portions dealt with.

        Parameters
        ----------
        job : Job
        known : ndarray of bytes
            Contents whose features are committed, ascending.
        portions : list of Portion

        Returns
        -------
        iterator of Done
            For each portion, as they are done.
        """


@dataclass(frozen=True, kw_only=True)
class Crew:
    """Who works, and with what.

    Attributes
    ----------
    pool : Pool
    load : callable
        Loads the network, on a worker.
    threads : int
        That read and decode, on each.
    rates : Rates
        Is told what they did.
    """

    pool: Pool
    load: Callable[[], Backbone]
    threads: int
    rates: Rates = field(default_factory=Rates)


class ClusterRun:
    """The `Run` of a cluster, see `semret.index.sync.run.Run`.

    Parameters
    ----------
    work : Work
        Its network is asked for its identity alone.
    crew : Crew

    Attributes
    ----------
    stopped : bool
        Whether it was told to stop.
    """

    def __init__(self, work: Work, crew: Crew) -> None:
        self.stopped = False
        self._work, self._crew = work, crew
        self._done = self._total = 0

    def go(self, files: FoundFiles, *, makes_index: bool) -> None:
        """Deal with all files.

        Parameters
        ----------
        files : FoundFiles
        makes_index : bool

        Raises
        ------
        SemretError
            What a worker raised, or the disk here.
        """
        self._total = len(files)
        self._work.progress(0, self._total)
        if makes_index:
            files = self._begin(files)
        if not self.stopped and len(files):
            self._write(files)

    # -- the first pictures of a new index

    def _begin(self, files: FoundFiles) -> FoundFiles:
        """Fit the codec and make the index; return the files that are left."""
        network, intake = self._work.network.get(), self._work.intake
        if network.manifest.codec != NO_CODEC and len(files) >= self._work.options.fit_from:
            files = self._fit(network, files)
        while intake.changes is None and len(files) and not self.stopped:
            first, files = files[:_FIRST], files[_FIRST:]
            for embedded in self._features(first, intake.is_known):
                self._enter(embedded)
        if intake.changes is not None:
            intake.changes.commit()
        return files

    def _fit(self, network: Network, files: FoundFiles) -> FoundFiles:
        sample = FitSample(network, self._work.options.fit_from)
        while len(files) and sample.missing and not self.stopped:
            chosen, files = sample.choose(files)
            for embedded in self._features(chosen, sample.is_known):
                if embedded.result is not None:
                    sample.measure(embedded.pictures, embedded.result)
                sample.take(embedded)
        if self.stopped:
            return files
        codec = sample.fit()
        if codec is not None:
            self._work.network.replace(network.with_codec(codec, write_codec(self._work.intake.folder, codec)))
        for embedded in sample.embedded:
            self._enter(embedded)
        sample.embedded.clear()
        return files

    def _features(self, files: FoundFiles, is_known: Callable[[bytes], bool]) -> Iterator[Embedded[Features]]:
        positions, channels = self._work.network.get().manifest.token_shape
        step = max(1, min(_SAMPLE_PORTION, _SAMPLE_BYTES // (4 * positions * channels)))
        portions = (Portion(0, list(files[start : start + step])) for start in range(0, len(files), step))
        for done in self._map(portions, writes=False):
            for embedded in done.embedded:
                yield _only_new(embedded, is_known)
                self._advance(len(embedded.files))

    def _enter(self, embedded: Embedded[Features]) -> None:
        network, rows = self._work.network.get(), None
        if embedded.result is not None:
            rows = make_rows(network.manifest, network.codec, embedded.pictures, embedded.result)
        self._work.intake.take(Embedded(embedded.files, embedded.pictures, rows))

    # -- all others

    def _write(self, files: FoundFiles) -> None:
        changes, manifest = self._work.intake.changes, self._work.network.get().manifest
        if changes is None:
            raise ClusterError("workers were to write to an index that is not made yet")
        first_id = changes.reserve(len(files))
        step = max(1, min(self._work.options.commit_rows, SEGMENT_BYTES // manifest.token_bytes))
        portions = (
            Portion(first_id + start, list(files[start : start + step])) for start in range(0, len(files), step)
        )
        for done in self._map(portions, writes=True):
            if done.staged is not None:
                changes.keep_staged(done.staged, done.ids)
            self._work.intake.place(done.files)
            self._advance(len(done.files))
        changes.commit()
        discard_leftovers(self._work.intake.folder)

    def _map(self, portions: Iterator[Portion], *, writes: bool) -> Iterator[Done]:
        """Give what becomes of portions, as they come; ask before each whether to stop."""
        for some in _rounds(portions):
            results = self._crew.pool.map(self._job(writes=writes), self._known(writes=writes), some)
            for done in results:
                self._crew.rates.note(done)
                yield done
                if self._work.stop():
                    self.stopped = True
                    return

    def _job(self, *, writes: bool) -> Job:
        network = self._work.network.get()
        return Job(
            index=str(self._work.intake.folder),
            version=__version__,
            load=self._crew.load,
            manifest=network.manifest,
            codec=network.codec,
            batch_size=self._work.options.batch_size,
            threads=self._crew.threads,
            size=self._work.size,
            writes=writes,
        )

    def _known(self, *, writes: bool) -> NDArray[np.bytes_]:
        """Return all contents that need not be embedded; before there is an index, none."""
        changes = self._work.intake.changes
        if not writes or changes is None:
            return np.empty(0, dtype="S32")
        changes.commit()
        return np.fromiter(changes.committed_contents(), dtype="S32")

    def _advance(self, files: int) -> None:
        self._done += files
        self._work.progress(self._done, self._total)


def _rounds(portions: Iterator[Portion]) -> Iterator[list[Portion]]:
    """Give portions in lists of about `ROUND_FILES` files."""
    some: list[Portion] = []
    count = 0
    for portion in portions:
        some.append(portion)
        count += len(portion.files)
        if count >= ROUND_FILES:
            yield some
            some, count = [], 0
    if some:
        yield some


def _only_new(embedded: Embedded[Features], is_known: Callable[[bytes], bool]) -> Embedded[Features]:
    """Drop the features of contents that another worker met before."""
    keep = [place for place, loaded in enumerate(embedded.pictures) if not is_known(loaded.sha256 or b"")]
    if embedded.result is None or len(keep) == len(embedded.pictures):
        return embedded
    if not keep:
        return Embedded(embedded.files, [], None)
    result = replace(embedded.result, tokens=embedded.result.tokens[keep], pooled=embedded.result.pooled[keep])
    return Embedded(embedded.files, [embedded.pictures[place] for place in keep], result)
