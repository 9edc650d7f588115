"""What lies in the folders now."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from semret.errors import ImageSearchError
from semret.index.pictures.exclusion import Exclusions
from semret.index.pictures.find import Excluded, FoundImage, LeftOut, SkippedPath, find_images
from semret.index.pictures.remote import expand, find_remote
from semret.index.store.root import lies_in
from semret.index.store.scratch import Scratch
from semret.index.sync.found_files import FoundFiles
from semret.names import amount
from semret.paths import PathLike, is_address, located

_WAITING = 1024


@dataclass
class Survey:
    """What lies in the folders now.

    Attributes
    ----------
    tops : list of str
        Files and folders given, absolute, and addresses; what lies elsewhere is left alone.
    missing : list of str
        Those of them that do not exist.
    skipped : dict
        Files and folders that cannot be used, with the reason. Of what lies below such a folder nothing is known.
    left_out : Counter
        Files that look like pictures or films of kinds that are not read, by kind.
    unwanted : Exclusions
        What is to be left out by the user's wish.
    excluded_files, excluded_folders : int
        What was found and is left out so; what is in such a folder is not counted.
    excluded_images : int
        Images of the index that are left out so from now on, as `Vanished` counts them.
    hold : callable or None
        Tells of a file whether it is left as it is for now: it may still be being written.
    held : set of str
        Paths of the files on `hold`.
    alive : set of str
        Folders that hold any of these, or a file of `found`, at any depth.
    """

    tops: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    unwanted: Exclusions = field(default_factory=Exclusions)
    excluded_files: int = 0
    excluded_folders: int = 0
    excluded_images: int = 0
    hold: Callable[[FoundImage], bool] | None = None
    held: set[str] = field(default_factory=set)
    alive: set[str] = field(default_factory=set)
    _scratch: Scratch = field(default_factory=partial(Scratch, FoundFiles.FILES), repr=False)
    _waiting: list[FoundImage] = field(default_factory=list, repr=False)
    _count: int = 0

    @property
    def found(self) -> FoundFiles:
        """Files that may be pictures, in the order of the walk."""
        self._store()
        return FoundFiles(self._scratch, range(1, self._count + 1))

    def _store(self) -> None:
        FoundFiles.store(self._scratch, self._waiting)
        self._waiting = []

    def add(self, entry: FoundImage | SkippedPath | LeftOut | Excluded) -> None:
        """Note one thing that the walk gives.

        Parameters
        ----------
        entry : FoundImage, SkippedPath, LeftOut or Excluded
        """
        if isinstance(entry, SkippedPath):
            self.skipped[entry.path] = entry.reason
        elif isinstance(entry, LeftOut):
            self.left_out[entry.kind] += 1
        elif isinstance(entry, Excluded):
            self.excluded_files += not entry.is_folder
            self.excluded_folders += entry.is_folder
        elif self.hold is not None and self.hold(entry):
            self.held.add(entry.path)
        else:
            self._count += 1
            self._waiting.append(entry)
            if len(self._waiting) >= _WAITING:
                self._store()
        for folder in _above(entry.path):
            if folder in self.alive:
                break
            self.alive.add(folder)

    def covers(self, path: str) -> bool:
        """Tell whether the walk would have found a file if it were there.

        Parameters
        ----------
        path : str
            Absolute.

        Returns
        -------
        bool
            False for what lies outside `tops`, or below a folder that could not be read.
        """
        return lies_in(path, self.tops) and self.skipped.keys().isdisjoint(_above(path))

    def emptied(self, path: str) -> str | None:
        """Return the highest folder above a file, among those walked, that is missing or no longer holds any picture.

        Parameters
        ----------
        path : str
            Of a file that is covered and was not found.

        Returns
        -------
        str or None
            None if the file's own folder still holds a picture.
        """
        found = path if path in self.missing else None
        for folder in _above(path):
            if folder in self.alive or not lies_in(folder, self.tops):
                break
            found = folder
        return found

    def require_pictures(self, known: Callable[[], Iterable[str]]) -> None:
        """Refuse folders in which there is nothing to do.

        Parameters
        ----------
        known : callable
            Gives the paths of all images of the index; none if there is no index yet.

        Raises
        ------
        ImageSearchError
            If a path given does not exist and the index knows no image there, or there is neither a picture nor was
            one before.
        """
        for path in self.missing:
            if not any(lies_in(image, [path]) for image in known()):
                raise ImageSearchError(f"there is no file or folder {path}; give the path of a picture or of a folder")
        if self._count or any(lies_in(image, self.tops) for image in known()):
            return
        notes = [f"{count} {kind} not read" for kind, count in sorted(self.left_out.items())]
        if self.excluded_files or self.excluded_folders:
            notes.append(
                f"{amount(self.excluded_files, 'file')} and {amount(self.excluded_folders, 'folder')} excluded"
            )
        notes += list(self.skipped.values())[:1]
        known_notes = f" ({', '.join(notes)})" if notes else ""
        raise ImageSearchError(
            f"there is no picture in {', '.join(self.tops)}{known_notes}; give a folder with pictures, "
            "or take vanished ones out of an index with semret remove"
        )


def _above(path: str) -> Iterator[str]:
    """Give the folders above a path, the nearest first."""
    folder = os.path.dirname(path)  # noqa: PTH120
    while folder != path:
        yield folder
        path, folder = folder, os.path.dirname(folder)  # noqa: PTH120


def look(
    paths: Sequence[PathLike], index: Path, unwanted: Exclusions, hold: Callable[[FoundImage], bool] | None = None
) -> Survey:
    """Walk the paths that exist.

    Parameters
    ----------
    paths : sequence of path
        Files, and folders that are walked.
    index : Path
        Index directory, which is left out with everything in it.

    unwanted : Exclusions
        What else is left out.
    hold : callable, optional
        Tells of a file whether it is left as it is for now.

    Returns
    -------
    Survey
    """
    tops = [top for path in paths for top in (expand(path) if is_address(path) else [located(path)])]
    missing = [path for path in dict.fromkeys(tops) if not is_address(path) and not os.path.lexists(path)]
    survey = Survey(tops=tops, missing=missing, unwanted=unwanted, hold=hold)
    there = [path for path in tops if path not in survey.missing and not is_address(path)]
    for entry in find_images(there, exclude=[index], unwanted=survey.unwanted):
        survey.add(entry)
    for address in dict.fromkeys(filter(is_address, tops)):
        for entry in find_remote(address, survey.unwanted):
            survey.add(entry)
    return survey
