"""Files are loaded, embedded and handed on to the index, by the threads of this process."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator

from semret.index.backbones.features import Features, Shrink, Shrunk
from semret.index.backbones.spec import Backbone
from semret.index.codec.codec import Codec
from semret.index.codec.table import NO_CODEC
from semret.index.pictures.find import FoundImage
from semret.index.store.codec_file import write_codec
from semret.index.store.layout import Rows
from semret.index.sync.fitting import FitSample, Network, UntilFitted
from semret.index.sync.found_files import FoundFiles
from semret.index.sync.intake import Intake
from semret.index.sync.loading import Loaded, Loader, load_files
from semret.index.sync.pipeline import Embedded, Embedder, Lazy, Result, Shrinking
from semret.index.sync.report import SyncOptions
from semret.index.sync.rows import make_rows
from semret.progress import Progress


class LocalRun:
    """The `Run` of one machine: in threads of this process.

    Parameters
    ----------
    network : Lazy of Network
    intake : Intake
    options : SyncOptions
    size : (int, int) or None
        Height and width that pictures are decoded for.
    progress : callable
        Told of every file that is dealt with.
    stop : callable
        Asked before each file.

    Attributes
    ----------
    stopped : bool
        Whether it answered True.
    """

    def __init__(
        self,
        network: Lazy[Network],
        intake: Intake,
        options: SyncOptions,
        *,
        size: tuple[int, int] | None,
        progress: Progress,
        stop: Callable[[], bool],
    ) -> None:
        self.stopped = False
        self._network, self._intake, self._options = network, intake, options
        self._size, self._progress, self._stop = size, progress, stop
        self._done = 0

    def go(self, files: FoundFiles, *, makes_index: bool) -> None:
        """Deal with all files; the codec of an index that is still to be made is fitted on some of them first.

        Parameters
        ----------
        files : FoundFiles
        makes_index : bool
        """
        self._progress(0, len(files))
        if makes_index and self._options.codec != NO_CODEC and len(files) >= self._options.fit_from:
            self._fit_and_embed(files, len(files))
        else:
            shrinking = Shrinking(self._choose_shrink, self._to_rows)
            self._embed(files, len(files), self._to_rows, self._take, self._intake.is_known, shrinking)

    def _fit_and_embed(self, files: FoundFiles, total: int) -> None:
        """Embed pictures spread over the files first; fit the codec on them while the others are embedded."""
        network = self._network.get()
        sample = FitSample(network, self._options.fit_from)
        while network.manifest.codec != NO_CODEC and len(files) and sample.missing and not self.stopped:
            chosen, files = sample.choose(files)
            self._embed(chosen, total, sample.measure, sample.take, sample.is_known)
        if self.stopped:
            return
        with UntilFitted(sample, self._know, self._to_rows, self._take) as late:
            late.threads = self._options.threads if network.backbone.feeds else 1
            shrinking: Shrinking[Features | Rows] = Shrinking(self._choose_shrink, self._to_rows)
            self._embed(files, total, late.finish, late.take, late.is_known, shrinking)
            late.rest(self._options.threads)

    def _know(self, codec: Codec | None) -> None:
        if codec is not None:
            self._network.replace(self._network.get().with_codec(codec, write_codec(self._intake.folder, codec)))

    def _to_rows(self, pictures: list[Loaded], features: Features | Shrunk) -> Rows:
        network = self._network.get()
        return make_rows(network.manifest, network.codec, pictures, features)

    def _choose_shrink(self) -> Shrink | None:
        # Asked only where a network runs on a device of its own, and so torch is there.
        from semret.index.device_encoding import shrink_for

        network = self._network.get()
        return shrink_for(network.manifest, network.codec)

    def _take(self, embedded: Embedded[Rows]) -> None:
        self._intake.take(embedded)

    def _embed(
        self,
        files: Iterable[FoundImage],
        total: int,
        finish: Callable[[list[Loaded], Features], Result],
        take: Callable[[Embedded[Result]], None],
        is_known: Callable[[bytes], bool],
        shrinking: Shrinking[Result] | None = None,
    ) -> None:
        """Load and embed files and hand on what `finish` makes of them."""

        def hand_on(ready: Iterator[Embedded[Result]]) -> None:
            for embedded in ready:
                take(embedded)
                for _ in embedded.files:
                    self._done += 1
                    self._progress(self._done, total)

        def backbone() -> Backbone:
            return self._network.get().backbone

        options = self._options
        loader = Loader(backbone, is_known, self._size)
        ahead = options.threads + 2 * options.batch_size
        with Embedder(
            backbone, finish, batch_size=options.batch_size, is_known=is_known, shrinking=shrinking
        ) as embedder:
            # Closed here: left to the collector, a second Ctrl-C while it waits for its threads would be lost.
            with contextlib.closing(load_files(loader, files, workers=options.threads, ahead=ahead)) as loading:
                for loaded in loading:
                    # While only slow files are left, what is there is embedded, and committed when its time has come.
                    hand_on(embedder.rest() if loaded is None else embedder.add(loaded))
                    self._intake.commit_if_due()
                    if self._stop():
                        self.stopped = True
                        break
            hand_on(embedder.rest())
