"""What a sync has files put through a network by: this process, or a cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from semret.index.sync.fitting import Network
from semret.index.sync.found_files import FoundFiles
from semret.index.sync.intake import Intake
from semret.index.sync.pipeline import Lazy
from semret.index.sync.report import SyncOptions
from semret.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a run has to do it with, and whom it tells and asks.

    Attributes
    ----------
    network : Lazy of Network
    intake : Intake
        Receives what files became.
    options : SyncOptions
    size : (int, int) or None
        Height and width that pictures are decoded for.
    progress : callable
        Told of every file that is dealt with.
    stop : callable
        Asked before each file.
    """

    network: Lazy[Network]
    intake: Intake
    options: SyncOptions
    size: tuple[int, int] | None
    progress: Progress
    stop: Callable[[], bool]


class Run(Protocol):
    """Puts files through the network, and what comes out into the index.

    Attributes
    ----------
    stopped : bool
        Whether it was told to stop.
    """

    stopped: bool

    def go(self, files: FoundFiles, *, makes_index: bool) -> None:
        """Deal with all files.

        Parameters
        ----------
        files : FoundFiles
            Those that have to be read.
        makes_index : bool
            Whether there is no index yet.
        """


MakeRun = Callable[[Work], Run]
"""Makes a `Run`: `semret.index.sync.local_run.LocalRun`, say."""
