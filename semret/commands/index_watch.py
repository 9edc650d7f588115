"""``semret index --watch``: what is printed while an index follows its folders."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semret.commands.index_output import IndexFormat, show_report, tell_exceptions
from semret.commands.output import duration, printable, progress_bar, say, show_error, write_json_lines, write_phrases
from semret.names import amount, one_line
from semret.progress import Progress

if TYPE_CHECKING:
    from semret.errors import SemretError
    from semret.index.backbones.spec import Backbone
    from semret.index.sync.report import SyncOptions, SyncReport

_CHANGES = ("added", "updated", "renamed", "removed")


def watch_folders(
    index: Path,
    paths: Sequence[Path],
    load: Callable[[], Backbone],
    options: SyncOptions,
    format_: IndexFormat,
    stop: threading.Event,
) -> None:
    """Keep an index current until the end is wanted, and tell of every update.

    Parameters
    ----------
    index : Path
        Index directory.
    paths : sequence of Path
    load : callable
        Loads the network.
    options : SyncOptions
    format_ : IndexFormat
        JSON of either form is one line for each update, and a last one.
    stop : threading.Event
        Set when the end is wanted.

    Raises
    ------
    SemretError
        See `semret.index.sync.watching.Watch`.
    """
    from semret.index.sync.watching import Watch

    teller = _Teller(format_, paths)
    Watch(index, paths, load, options=options, listener=teller, stop=stop).run()
    teller.end()


class _Teller:
    """Prints updates on stdout and everything else on stderr; see `semret.index.sync.listener.Listener`."""

    def __init__(self, format_: IndexFormat, paths: Sequence[Path]) -> None:
        self._lines = format_ is not IndexFormat.table
        self._watched = ", ".join(printable(str(path)) for path in paths)
        self._start = time.monotonic()
        self._updates = 0
        self._totals: Counter[str] = Counter()
        self._images: int | None = None
        self._told: set[tuple[str, str] | tuple[str, int]] = set()

    def updated(self, report: SyncReport) -> None:
        first = self._images is None
        self._images = report.images
        exceptions: set[tuple[str, str] | tuple[str, int]] = {*report.skipped, *report.kept_in}
        news = exceptions - self._told
        self._told |= news
        changes = {name: getattr(report, name) for name in (*_CHANGES, "embedded")}
        if not first and not any(changes.values()) and not news:
            return
        self._updates += 1
        self._totals.update(changes)
        if self._lines:
            write_json_lines([{"event": "update", "time": _now(), **report.as_json()}])
        elif first:
            show_report(report, IndexFormat.table)
        else:
            tell_exceptions(report, only=news)
            if any(changes.values()):
                write_phrases(f"{_changed(changes)}; {amount(report.images, 'image')}", head=_now()[11:19])
        if first and not report.interrupted:
            say(f"semret: watching {self._watched}; Ctrl-C ends it")

    def failed(self, error: SemretError) -> None:
        if self._lines:
            write_json_lines([{"event": "error", "time": _now(), "error": one_line(error)}])
        show_error(error)
        say("semret: it is tried again, at the latest in half a minute")

    def noted(self, line: str) -> None:
        say(f"semret: {printable(' '.join(line.split()))}")

    def bar(self) -> AbstractContextManager[Progress | None]:
        return progress_bar("indexing")

    def end(self) -> None:
        """Print what was done in all."""
        seconds = time.monotonic() - self._start
        totals: dict[str, Any] = {name: self._totals[name] for name in (*_CHANGES, "embedded")}
        if self._lines:
            document = {"updates": self._updates, **totals, "images": self._images or 0, "seconds": seconds}
            write_json_lines([{"event": "end", "time": _now(), **document}])
        else:
            head = f"watched for {duration(seconds)}:"
            text = f"{amount(self._updates, 'update')}, {_changed(totals)}; {amount(self._images or 0, 'image')}"
            write_phrases(text, head=head)


def _changed(counts: dict[str, int]) -> str:
    return ", ".join(f"{counts[name]} {name}" for name in _CHANGES if counts[name]) or "nothing changed"


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
