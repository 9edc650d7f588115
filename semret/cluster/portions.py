"""What a driver sends to its workers, and what comes back; plain values that are pickled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from semret.errors import SemretError
from semret.index.backbones.features import Features
from semret.index.backbones.spec import Backbone
from semret.index.codec.codec import Codec
from semret.index.pictures.find import FoundImage
from semret.index.store.manifest import Manifest
from semret.index.store.staged import StagedSegment
from semret.index.sync.loading import Loaded
from semret.index.sync.pipeline import Embedded


@dataclass(frozen=True, kw_only=True)
class Job:
    """What all workers of a run have in common.

    Attributes
    ----------
    index : str
        Index directory, on a file system that all computers share.
    version : str
        Of semret, on the driver.
    load : callable
        Loads the network.
    manifest : Manifest
        Of the index.
    codec : Codec or None
        What tokens are stored with.
    batch_size, threads : int
        Pictures in the network at one time; threads that read and decode.
    size : (int, int) or None
        Height and width that pictures are decoded for; None stands for the network's input.
    writes : bool
        Whether workers write segments; otherwise they return features, for the driver to fit a codec on.
    """

    index: str
    version: str
    load: Callable[[], Backbone]
    manifest: Manifest
    codec: Codec | None
    batch_size: int
    threads: int
    size: tuple[int, int] | None
    writes: bool


@dataclass(frozen=True)
class Portion:
    """Files that are dealt with together; those of one portion become one segment.

    Attributes
    ----------
    first_id : int
        Id of the first file, if it is new; those of the others follow.
    files : list of FoundImage
    """

    first_id: int
    files: list[FoundImage]


@dataclass(frozen=True, kw_only=True)
class Worker:
    """Who did something: the address of the computer, and the process on it."""

    node: str
    process: int


@dataclass(frozen=True, kw_only=True)
class Done:
    """What became of a portion.

    Attributes
    ----------
    worker : Worker
    seconds : float
        That it took, without loading the network.
    files : list of Loaded
        All its files, without pixels.
    ids : dict of bytes to int
        Content to id, for the rows of `staged` in their order.
    staged : StagedSegment or None
        Rows of the pictures that are new; None where there are none, or none were to be written.
    embedded : list of Embedded
        Features instead, where they were asked for.
    error : SemretError or None
        Why the run cannot go on; then there is nothing else.
    """

    worker: Worker
    seconds: float = 0.0
    files: list[Loaded] = field(default_factory=list)
    ids: dict[bytes, int] = field(default_factory=dict)
    staged: StagedSegment | None = None
    embedded: list[Embedded[Features]] = field(default_factory=list)
    error: SemretError | None = None

    @property
    def pictures(self) -> int:
        """Pictures that went through the network."""
        return len(self.ids) + sum(len(part.pictures) for part in self.embedded)
