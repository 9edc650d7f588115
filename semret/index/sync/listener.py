"""Who is told what happens while an index follows its folders."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from semret.errors import SemretError
from semret.index.sync.report import SyncReport
from semret.progress import Progress


class Listener(Protocol):
    """Who is told what happens."""

    def updated(self, report: SyncReport) -> None:
        """Hear of an update that went to its end, also of one that changed nothing.

        Parameters
        ----------
        report : SyncReport
        """

    def failed(self, error: SemretError) -> None:
        """Hear of an update that failed; it is tried again.

        Parameters
        ----------
        error : SemretError
        """

    def noted(self, line: str) -> None:
        """Hear of what is good to know: what is waited for, what has gone.

        Parameters
        ----------
        line : str
        """

    def bar(self) -> AbstractContextManager[Progress | None]:
        """Return what shows the progress of a long update.

        Returns
        -------
        context manager
            Of a `Progress`, or of None.
        """
