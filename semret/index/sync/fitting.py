"""The pictures that the codec of a new index is fitted on: spread over all files, and embedded once."""

from __future__ import annotations

from dataclasses import dataclass, replace

from semret.index.backbones.spec import Backbone, Features
from semret.index.codec.codec import Codec
from semret.index.codec.entry import CodecEntry
from semret.index.codec.fit import spread
from semret.index.codec.table import parse
from semret.index.convert import new_fitter, sample_size
from semret.index.model_choice import may_have_text
from semret.index.store.manifest import Manifest
from semret.index.sync.found_files import FoundFiles
from semret.index.sync.pipeline import Embedded


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
    """Pictures to fit a codec on: which files they are, and their features until the codec is known.

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

    def take(self, embedded: Embedded[Features]) -> None:
        """Keep what has been through the network.

        Parameters
        ----------
        embedded : Embedded of Features
        """
        self.embedded.append(embedded)
        self._contents.update(loaded.sha256 for loaded in embedded.pictures if loaded.sha256 is not None)

    def fit(self) -> Codec | None:
        """Fit the codec.

        Returns
        -------
        Codec or None
            None if there are too few pictures to fit one on.
        """
        manifest = self._network.manifest
        spec = parse(manifest.codec)
        if spec is None or len(self._contents) < self._fewest:
            return None
        fitter = new_fitter(spec, manifest, has_text=may_have_text(manifest.identity.backbone))
        for embedded in self.embedded:
            if embedded.result is not None:
                fitter.add(embedded.result.tokens, embedded.result.pooled)
        return fitter.finish()
