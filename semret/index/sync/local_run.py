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
from semret.index.sync.fitting import FitSample, UntilFitted
from semret.index.sync.found_files import FoundFiles
from semret.index.sync.loading import Loaded, Loader, load_files
from semret.index.sync.pipeline import Embedded, Embedder, Result, Shrinking
from semret.index.sync.rows import make_rows
from semret.index.sync.run import Work


class LocalRun:
    """The `Run` of one machine: in threads of this process.

    Parameters
    ----------
    work : Work

    Attributes
    ----------
    stopped : bool
        Whether it was told to stop.
    """

    def __init__(self, work: Work) -> None:
        self.stopped = False
        self._work = work
        self._done = 0

    def go(self, files: FoundFiles, *, makes_index: bool) -> None:
        """Deal with all files; the codec of an index that is still to be made is fitted on some of them first.

        Parameters
        ----------
        files : FoundFiles
        makes_index : bool
        """
        options = self._work.options
        self._work.progress(0, len(files))
        if makes_index and options.codec != NO_CODEC and len(files) >= options.fit_from:
            self._fit_and_embed(files, len(files))
        else:
            shrinking = Shrinking(self._choose_shrink, self._to_rows)
            self._embed(files, len(files), self._to_rows, self._take, self._work.intake.is_known, shrinking)

    def _fit_and_embed(self, files: FoundFiles, total: int) -> None:
        """Embed pictures spread over the files first; fit the codec on them while the others are embedded."""
        network = self._work.network.get()
        sample = FitSample(network, self._work.options.fit_from)
        while network.manifest.codec != NO_CODEC and len(files) and sample.missing and not self.stopped:
            chosen, files = sample.choose(files)
            self._embed(chosen, total, sample.measure, sample.take, sample.is_known)
        if self.stopped:
            return
        with UntilFitted(sample, self._know, self._to_rows, self._take) as late:
            late.threads = self._work.options.threads if network.backbone.feeds else 1
            shrinking: Shrinking[Features | Rows] = Shrinking(self._choose_shrink, self._to_rows)
            self._embed(files, total, late.finish, late.take, late.is_known, shrinking)
            late.rest(self._work.options.threads)

    def _know(self, codec: Codec | None) -> None:
        if codec is not None:
            network, entry = self._work.network, write_codec(self._work.intake.folder, codec)
            network.replace(network.get().with_codec(codec, entry))

    def _to_rows(self, pictures: list[Loaded], features: Features | Shrunk) -> Rows:
        network = self._work.network.get()
        return make_rows(network.manifest, network.codec, pictures, features)

    def _choose_shrink(self) -> Shrink | None:
        # Asked only where a network runs on a device of its own, and so torch is there.
        from semret.index.device_encoding import shrink_for

        network = self._work.network.get()
        return shrink_for(network.manifest, network.codec)

    def _take(self, embedded: Embedded[Rows]) -> None:
        self._work.intake.take(embedded)

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
                    self._work.progress(self._done, total)

        def backbone() -> Backbone:
            return self._work.network.get().backbone

        options = self._work.options
        loader = Loader(backbone, is_known, self._work.size)
        ahead = options.threads + 2 * options.batch_size
        with Embedder(
            backbone, finish, batch_size=options.batch_size, is_known=is_known, shrinking=shrinking
        ) as embedder:
            # Closed here: left to the collector, a second Ctrl-C while it waits for its threads would be lost.
            with contextlib.closing(load_files(loader, files, workers=options.threads, ahead=ahead)) as loading:
                for loaded in loading:
                    # While only slow files are left, what is there is embedded, and committed when its time has come.
                    hand_on(embedder.rest() if loaded is None else embedder.add(loaded))
                    self._work.intake.commit_if_due()
                    if self._work.stop():
                        self.stopped = True
                        break
            hand_on(embedder.rest())
