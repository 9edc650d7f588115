"""What a sync has files put through a network by: this process, or a cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from semret.index.sync.fitting import Network
from semret.index.sync.found_files import FoundFiles
from semret.index.sync.intake import Intake
from semret.index.sync.pipeline import Lazy
from semret.index.sync.report import SyncOptions
from semret.progress import Progress


class Run(Protocol):
    """Puts files through the network, and what comes out into the index."""

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


class MakeRun(Protocol):
    """Makes a `Run`; the parameters are those of `LocalRun`."""

    def __call__(
        self,
        network: Lazy[Network],
        intake: Intake,
        options: SyncOptions,
        *,
        size: tuple[int, int] | None,
        progress: Progress,
        stop: Callable[[], bool],
    ) -> Run:
        """Make it.

        Parameters
        ----------
        network : Lazy of Network
        intake : Intake
        options : SyncOptions
        size : (int, int) or None
        progress, stop : callable

        Returns
        -------
        Run
        """
