"""An index that follows its folders: what changes in them is taken over in batches, for as long as one wishes.

A change is heard of (or found by looking, where a file system tells nothing), waited for until its file is written to
the end, and gathered with others. Then the folders that hold changes are synchronised as ``semret index`` would do it,
and the lock is held only for that. All folders are walked anew from time to time, for a system that has too much to
tell leaves some of it out.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from semret.errors import ImageSearchError, IndexLockedError, MissingDependencyError, SemretError
from semret.index.backbones.spec import Backbone
from semret.index.location import default_index_path
from semret.index.pictures.exclusion import Exclusions
from semret.index.pictures.find import SUFFIXES
from semret.index.store.manifest import MANIFEST_NAME
from semret.index.store.root import lies_in
from semret.index.sync.excluding import find_excluding
from semret.index.sync.listener import Listener
from semret.index.sync.places import Place, place_of, read_mounts, remote_kind
from semret.index.sync.report import SyncOptions
from semret.index.sync.settling import Settling, find_scopes
from semret.index.sync.sync import sync
from semret.optional import why_not
from semret.paths import PathLike, absolute

SETTLE_SECONDS = 1.0
"""How long size and time stamp of a file must have stayed the same before it is read."""

LOOK_SECONDS = 0.5
"""How often it is seen whether files have settled, folders have gone, or somebody wants the end."""

LONGEST_GATHER = 10.0
"""Seconds after which a batch is taken over although more changes come."""

SURVEY_SECONDS = 600.0
"""Time from one walk over everything to the next."""

RETRY_SECONDS = 30.0
"""Time until what has failed is tried again, unless something changes before."""

POLL_SECONDS = 5.0
"""Time between looks at a folder whose changes nobody tells of."""

MANY = 2000
"""Changes in one batch from which on all folders are walked: the system's queue may have been too short for them."""

_MILLISECONDS = 1000


@dataclass(frozen=True)
class _Sight:
    """What is watched now: for each path what it leads to, and whether somebody tells of its changes."""

    places: tuple[Place, ...]
    mounts: tuple[str, ...]
    polls: bool


class Watch:
    """Keeps an index current.

    Parameters
    ----------
    index, paths, backbone, options
        As in `semret.index.sync.sync.sync`; the network is loaded once.
    listener : Listener
    stop : threading.Event
        Set by whoever wants the end; what is under way is finished as an interrupted run is.

    Raises
    ------
    MissingDependencyError
        If watchfiles is not installed.
    """

    def __init__(
        self,
        index: PathLike | None,
        paths: Sequence[PathLike],
        backbone: Callable[[], Backbone],
        *,
        options: SyncOptions,
        listener: Listener,
        stop: threading.Event,
    ) -> None:
        try:
            import watchfiles
        except ImportError as error:
            names = "watchfiles", "semret index --watch", "watchfiles", "run pip install watchfiles"
            raise MissingDependencyError(why_not(error, *names)) from error
        self._events = watchfiles.watch
        self._index = default_index_path(index)
        # Each path as it was given decides how hits are shown.
        self._paths = {str(absolute(path)): path for path in paths}
        self._load = _Kept(backbone)
        self._options = options
        self._listener = listener
        self._stop = stop
        self._settling = Settling(SETTLE_SECONDS)
        self._unwanted = Exclusions()
        self._changed: set[str] = set()
        self._everything = True
        self._since = self._latest = self._not_before = self._surveyed = 0.0
        self._failure = ""
        self._unheard = ""

    def run(self) -> None:
        """Synchronise all, then what changes, until the end is wanted.

        Raises
        ------
        ImageSearchError
            If at first a path does not exist and the index knows no image there.
        SemretError
            If the first run fails otherwise than for a lock, or for want of pictures.
        """
        sight: _Sight | None = None
        first = True
        while not self._stop.is_set():
            sight, before = self._look(), sight
            self._tell_of(sight, before)
            with contextlib.closing(self._open(sight)) as batches:
                # Until the first batch nothing is heard: only then what is there is walked.
                for changes in batches:
                    done = self._follow(changes, first=first)
                    first = first and not done
                    if self._look(polls=sight.polls) != sight:
                        break
            self._everything = True

    # -- what there is to see

    def _look(self, *, polls: bool | None = None) -> _Sight:
        mounts = read_mounts()
        inside = tuple(mount.point for mount in mounts if lies_in(mount.point, list(self._paths)))
        if polls is None:
            polls = bool(self._unheard) or any(remote_kind(path, mounts) for path in self._paths)
        return _Sight(tuple(map(place_of, self._paths)), inside, polls)

    def _tell_of(self, sight: _Sight, before: _Sight | None) -> None:
        """Say which paths have gone or come, and which are looked at instead of listened to."""
        # Of what is missing at the start the first update tells.
        former = sight.places if before is None else before.places
        for path, place, earlier in zip(self._paths, sight.places, former, strict=True):
            if (place is None) != (earlier is None):
                self._listener.noted(f"{path} is {'not there; waiting for it' if place is None else 'there again'}")
        if sight.polls and not (before is not None and before.polls):
            mounts = read_mounts()
            kinds = {kind for path in self._paths if (kind := remote_kind(path, mounts))}
            why = f"{', '.join(sorted(kinds))} tells nothing of what others change" if kinds else self._unheard
            self._listener.noted(f"looking for changes every {POLL_SECONDS:.0f} s: {why}")

    def _open(self, sight: _Sight) -> Generator[set[str], None, None]:
        """Give the paths that change, and an empty set each time that it is to be seen how things are."""
        there = [path for path, place in zip(self._paths, sight.places, strict=True) if place is not None]
        if not there:
            while not self._stop.wait(LOOK_SECONDS):
                yield set()
            return
        try:
            for changes in self._events(
                *there,
                watch_filter=None,
                debounce=int(LOOK_SECONDS * _MILLISECONDS),
                stop_event=self._stop,
                rust_timeout=int(LOOK_SECONDS * _MILLISECONDS),
                yield_on_timeout=True,
                force_polling=sight.polls or None,
                poll_delay_ms=int(POLL_SECONDS * _MILLISECONDS),
                ignore_permission_denied=True,
            ):
                yield {path for _, path in changes}
        except (OSError, RuntimeError) as error:
            # Of watchfiles alone: what an update raises does not come this way. A folder may have gone meanwhile.
            if any(place_of(path) is None for path in there):
                return
            if sight.polls:
                self._fail(ImageSearchError(f"cannot look for changes: {error}"))
                self._stop.wait(RETRY_SECONDS)
            self._unheard = f"the system does not tell of them ({error})"

    # -- what is done about it

    def _follow(self, changes: set[str], *, first: bool) -> bool:
        """Take note of changes, and take them over if it is time; return whether the first run is done."""
        now = time.monotonic()
        own = map(self._own, changes)
        relevant = {path for path in own if path is not None and self._matters(path)}
        for path in relevant:
            self._settling.touch(path)
        if relevant:
            self._since, self._not_before = self._since if self._changed else now, 0.0
            self._latest = now
        self._changed |= relevant
        self._everything |= len(changes) >= MANY or now - self._surveyed >= SURVEY_SECONDS
        if now < self._not_before:
            return False
        ready = {path for path in self._changed if self._settling.is_settled(path)}
        # All at once, or a picture that was moved would be gone in one update and new in the next.
        is_whole = ready == self._changed and now - self._latest >= SETTLE_SECONDS
        if not is_whole and now - self._since < LONGEST_GATHER:
            return False
        return bool(ready or self._everything) and self._update(ready, first=first)

    def _own(self, path: str) -> str | None:
        """Return a path as it lies in what is watched; some systems tell it by its real name."""
        for top in self._paths:
            if lies_in(path, [top]):
                return path
            real = os.path.realpath(top)
            if lies_in(path, [real]):
                return top + path[len(real) :]
        return None

    def _matters(self, path: str) -> bool:
        """Tell whether a change may concern a picture."""
        if lies_in(path, [str(self._index)]) or self._unwanted.cover(path):
            return False
        if path in self._paths:
            return True
        top = next(top for top in self._paths if lies_in(path, [top]))
        if any(part.startswith(".") for part in Path(path[len(top) :]).parts):
            return False
        # Of what is gone nobody knows whether it was a folder.
        is_file = os.path.isfile(path)  # noqa: PTH113
        return not is_file or os.path.splitext(path)[1].lower() in SUFFIXES  # noqa: PTH122

    def _update(self, ready: set[str], *, first: bool) -> bool:
        exists = (self._index / MANIFEST_NAME).is_file()
        everything = self._everything or not exists
        paths = list(self._paths.values()) if everything else self._scopes(ready)
        long = everything or len(ready) > 20
        try:
            with self._listener.bar() if long else contextlib.nullcontext() as progress:
                report = sync(
                    self._index,
                    paths,
                    self._load,
                    options=self._options,
                    progress=progress,
                    stop=self._stop.is_set,
                    hold=self._settling.hold,
                )
        except IndexLockedError as error:
            self._wait_for(error)
            return False
        except ImageSearchError as error:
            if self._stop.is_set():
                return True
            if first and any(place is None for place in map(place_of, self._paths)):
                raise
            self._settle_for_nothing(error, exists=exists)
        except (SemretError, OSError) as error:
            if first or self._stop.is_set():
                raise
            self._fail(error if isinstance(error, SemretError) else ImageSearchError(str(error)))
            return True
        else:
            self._failure = ""
            self._listener.updated(report)
            # From now on the index remembers them.
            self._options = replace(self._options, exclude=(), no_exclude=False, root=None)
            self._unwanted = find_excluding(self._index, paths, self._options).exclusions
        self._settling.forget(ready)
        self._changed = (self._changed - ready) | self._settling.held
        self._since = time.monotonic()
        if everything:
            self._everything, self._surveyed = False, time.monotonic()
        return True

    def _scopes(self, ready: set[str]) -> list[PathLike]:
        """Return the folders that hold changes, named from the paths that were given."""
        found: list[PathLike] = []
        for top, folders in find_scopes(ready, list(self._paths)).items():
            found += [Path(self._paths[top], os.path.relpath(folder, top)) for folder in folders]
        return found

    def _wait_for(self, error: IndexLockedError) -> None:
        if self._failure != "lock":
            self._listener.noted(f"{str(error).rpartition(';')[0]}; waiting until it has finished")
        self._failure = "lock"
        self._not_before = time.monotonic() + LOOK_SECONDS

    def _settle_for_nothing(self, error: ImageSearchError, *, exists: bool) -> None:
        """Go on without a picture: it may come."""
        line = str(error)
        if self._failure != line and not self._settling.held:
            self._listener.noted(line if exists else f"{line.partition(';')[0]}; waiting for one")
            self._failure = line

    def _fail(self, error: SemretError) -> None:
        if self._failure != str(error):
            self._listener.failed(error)
        self._failure = str(error)
        self._not_before = time.monotonic() + RETRY_SECONDS


class _Kept:
    """Loads the network when it is first needed, and keeps it."""

    def __init__(self, load: Callable[[], Backbone]) -> None:
        self.model = getattr(load, "model", "the network")
        self._load = load
        self._network: Backbone | None = None

    def __call__(self) -> Backbone:
        if self._network is None:
            self._network = self._load()
        return self._network
