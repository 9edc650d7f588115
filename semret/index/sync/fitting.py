"""The codec of a new index: fitted beside the network, on pictures spread over all files that are embedded once.

What a codec is fitted on is summed up by the threads that embedded it. When the last of these pictures has come, what
remains is an eigenvalue problem; another thread solves it while the network goes on. Until then features are held as
they are; they are encoded, in their order, as soon as the codec is known.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeAlias

from semret.index.backbones.features import Features
from semret.index.backbones.spec import Backbone
from semret.index.codec.codec import Codec
from semret.index.codec.entry import CodecEntry
from semret.index.codec.fit import spread
from semret.index.codec.table import parse
from semret.index.convert import new_fitter, sample_size
from semret.index.model_choice import may_have_text
from semret.index.store.layout import Rows
from semret.index.store.manifest import Manifest
from semret.index.sync.found_files import FoundFiles
from semret.index.sync.loading import Loaded
from semret.index.sync.pipeline import Embedded, Result

_HELD_BYTES = 2**25
"""Tokens that are held while the codec is fitted, beyond those that it is fitted on."""

_AT_ONCE = 8
"""Batches that are encoded for each that comes, until none is held any more."""

Came: TypeAlias = Embedded[Features] | Embedded[Rows] | Embedded[Features | Rows]


@dataclass(frozen=True)
class Network:
    """The network of a run, and the manifest and codec of the index that its features go into."""

    backbone: Backbone
    manifest: Manifest
    codec: Codec | None = None

    def with_codec(self, codec: Codec, entry: CodecEntry) -> Network:
        """Return the same network for an index with a codec.

        Parameters
        ----------
        codec : Codec
        entry : CodecEntry
            What the manifest is to say of it.

        Returns
        -------
        Network
        """
        return replace(self, manifest=replace(self.manifest, codec_file=entry), codec=codec)


class FitSample:
    """Pictures to fit a codec on: which files they are, their moments, and their features until the codec is known.

    Parameters
    ----------
    network : Network
        Its manifest names the codec.
    fewest : int
        Pictures from which a codec is fitted.

    Attributes
    ----------
    embedded : list of Embedded
        All files that came through the network, in order.
    """

    def __init__(self, network: Network, fewest: int) -> None:
        self._network = network
        self._fewest = fewest
        self._contents: set[bytes] = set()
        self._wanted = max(fewest, sample_size(network.manifest))
        manifest, spec = network.manifest, parse(network.manifest.codec)
        has_text = may_have_text(manifest.identity.backbone)
        self._fitter = None if spec is None else new_fitter(spec, manifest, has_text=has_text)
        self.embedded: list[Embedded[Features]] = []

    @property
    def missing(self) -> int:
        """Pictures that are still wanted."""
        return self._wanted - len(self._contents)

    def choose(self, files: FoundFiles) -> tuple[FoundFiles, FoundFiles]:
        """Choose files for the pictures that are missing, evenly spread.

        Parameters
        ----------
        files : FoundFiles

        Returns
        -------
        chosen, others : FoundFiles
            Both in the order of `files`.
        """
        places = set(spread(len(files), self.missing))
        others = (place for place in range(len(files)) if place not in places)
        return files.at(sorted(places)), files.at(others)

    def is_known(self, sha256: bytes) -> bool:
        """Tell whether a content has been through the network.

        Parameters
        ----------
        sha256 : bytes

        Returns
        -------
        bool
        """
        return sha256 in self._contents

    def measure(self, pictures: list[Loaded], features: Features) -> Features:
        """Add the features of a batch to what the codec is fitted on; several threads may do so at a time.

        Parameters
        ----------
        pictures : list of Loaded
        features : Features
            Theirs.

        Returns
        -------
        Features
            The same.
        """
        del pictures
        if self._fitter is not None:
            self._fitter.add(features.tokens, features.pooled)
        return features

    def take(self, embedded: Embedded[Features]) -> None:
        """Keep what has been through the network, and `measure`.

        Parameters
        ----------
        embedded : Embedded of Features
        """
        self.embedded.append(without_pixels(embedded))
        self._contents.update(contents_of(embedded))

    def fit(self) -> Codec | None:
        """Fit the codec.

        Returns
        -------
        Codec or None
            None if there are too few pictures to fit one on.
        """
        if self._fitter is None or len(self._contents) < self._fewest:
            return None
        return self._fitter.finish()


class UntilFitted:
    """Holds what has been through the network until the codec is fitted, and hands on its rows then.

    Used in a ``with`` block; leaving it waits for the fit.

    Parameters
    ----------
    sample : FitSample
        Complete. The codec is fitted in a thread; what it holds is handed on first.
    know : callable
        Called once with the codec, or None, before the first rows are made.
    to_rows : callable
        Makes rows of features; then knows the codec.
    hand_on : callable
        Takes everything in its order.

    Attributes
    ----------
    threads : int
        Threads that encode what is held as soon as the codec is known. With one, that of the caller does it, some
        batches at a time, for the others are busy with the network.
    """

    def __init__(
        self,
        sample: FitSample,
        know: Callable[[Codec | None], None],
        to_rows: Callable[[list[Loaded], Features], Rows],
        hand_on: Callable[[Embedded[Rows]], None],
    ) -> None:
        self.threads = 1
        self._know, self._to_rows, self._hand_on = know, to_rows, hand_on
        self._held: deque[Came] = deque(sample.embedded)
        self._contents = {sha256 for embedded in sample.embedded for sha256 in contents_of(embedded)}
        sample.embedded.clear()
        self._bytes = 0
        self._is_fitted = False
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="semret-fit")
        self._codec: Future[Codec | None] = self._pool.submit(sample.fit)

    def __enter__(self) -> UntilFitted:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._pool.shutdown(wait=kind is not KeyboardInterrupt, cancel_futures=True)

    def is_known(self, sha256: bytes) -> bool:
        """Tell whether a content has been through the network.

        Parameters
        ----------
        sha256 : bytes

        Returns
        -------
        bool
        """
        return sha256 in self._contents

    def finish(self, pictures: list[Loaded], features: Features) -> Features | Rows:
        """Make rows of the features of a batch if that can be done by now.

        Parameters
        ----------
        pictures : list of Loaded
        features : Features
            Theirs.

        Returns
        -------
        Features or Rows
        """
        return self._to_rows(pictures, features) if self._is_fitted else features

    def take(self, embedded: Embedded[Features | Rows]) -> None:
        """Hold what has been through the network, or hand it on if the codec is known, after what is held.

        Parameters
        ----------
        embedded : Embedded of Features or Rows

        Raises
        ------
        Exception
            Whatever fitting, encoding or handing on raises.
        """
        self._contents.update(contents_of(embedded))
        self._held.append(without_pixels(embedded))
        if isinstance(embedded.result, Features):
            self._bytes += embedded.result.tokens.nbytes
        if self._is_fitted or self._codec.done() or self._bytes > _HELD_BYTES:
            self._fitted()
            if self.threads > 1 and len(self._held) > _AT_ONCE:
                self.rest(self.threads)
            for _ in range(min(_AT_ONCE, len(self._held))):
                self._hand_on(self._encoded(self._held.popleft()))

    def rest(self, threads: int) -> None:
        """Hand on all that is held.

        Parameters
        ----------
        threads : int
            On so many it is encoded.

        Raises
        ------
        Exception
            As `take`.
        """
        self._fitted()
        with ThreadPoolExecutor(threads, thread_name_prefix="semret-encode") as pool:
            ahead: deque[Future[Embedded[Rows]]] = deque()
            while self._held or ahead:
                while self._held and len(ahead) < 2 * threads:
                    ahead.append(pool.submit(self._encoded, self._held.popleft()))
                self._hand_on(ahead.popleft().result())

    def _fitted(self) -> None:
        if not self._is_fitted:
            self._know(self._codec.result())
            self._is_fitted = True

    def _encoded(self, embedded: Came) -> Embedded[Rows]:
        result = embedded.result
        rows = self._to_rows(embedded.pictures, result) if isinstance(result, Features) else result
        return Embedded(embedded.files, embedded.pictures, rows)


def without_pixels(embedded: Embedded[Result]) -> Embedded[Result]:
    """Return files that the network is done with, without its input, which takes more memory than what came out.

    Parameters
    ----------
    embedded : Embedded

    Returns
    -------
    Embedded
    """
    files, pictures = (
        [replace(loaded, pixels=None) for loaded in part] for part in (embedded.files, embedded.pictures)
    )
    return Embedded(files, pictures, embedded.result)


def contents_of(embedded: Embedded[Result]) -> list[bytes]:
    """Return the SHA-256 of the contents that went through the network.

    Parameters
    ----------
    embedded : Embedded

    Returns
    -------
    list of bytes
    """
    return [loaded.sha256 for loaded in embedded.pictures if loaded.sha256 is not None]
