"""What lies in the folders now, and which images of an index have vanished from them.

A folder that is found without a single picture is more often a drive that is not connected than a wish to forget its
pictures, so its images are kept until they are to be pruned.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from semret.errors import ImageSearchError
from semret.index.pictures.exclusion import Exclusions
from semret.index.pictures.find import Excluded, FoundImage, LeftOut, SkippedPath, find_images
from semret.index.store.root import lies_in
from semret.names import amount
from semret.paths import PathLike, absolute


@dataclass
class Survey:
    """What lies in the folders now.

    Attributes
    ----------
    tops : list of str
        Files and folders given, absolute; what lies elsewhere is left alone.
    missing : list of str
        Those of them that do not exist.
    found : list of FoundImage
        Files that may be pictures, in the order of the walk.
    skipped : dict
        Files and folders that cannot be used, with the reason. Of what lies below such a folder nothing is known.
    left_out : Counter
        Files that look like pictures or films of kinds that are not read, by kind.
    unwanted : Exclusions
        What is to be left out by the user's wish.
    excluded_files, excluded_folders : int
        What was found and is left out so; what is in such a folder is not counted.
    excluded_images : int
        Images of the index that are left out so from now on, as `find_vanished` counts them.
    hold : callable or None
        Tells of a file whether it is left as it is for now: it may still be being written.
    seen : set of str
        Paths of `found`, and of the files on `hold`.
    alive : set of str
        Folders that hold any of these at any depth.
    """

    tops: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    found: list[FoundImage] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    unwanted: Exclusions = field(default_factory=Exclusions)
    excluded_files: int = 0
    excluded_folders: int = 0
    excluded_images: int = 0
    hold: Callable[[FoundImage], bool] | None = None
    seen: set[str] = field(default_factory=set)
    alive: set[str] = field(default_factory=set)

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
        else:
            if self.hold is None or not self.hold(entry):
                self.found.append(entry)
            self.seen.add(entry.path)
        for folder in _above(entry.path):
            if folder in self.alive:
                break
            self.alive.add(folder)

    def is_unseen(self, path: str) -> bool:
        """Tell whether the walk would have found a file if it were still there, and did not.

        Parameters
        ----------
        path : str
            Absolute path of a file that was indexed.

        Returns
        -------
        bool
            False for what lies outside `tops`, or below a folder that could not be read.
        """
        return path not in self.seen and lies_in(path, self.tops) and self.skipped.keys().isdisjoint(_above(path))

    def emptied(self, path: str) -> str | None:
        """Return the highest folder above a file, among those walked, that is missing or no longer holds any picture.

        Parameters
        ----------
        path : str
            A file for which `is_unseen` is true.

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

    def require_pictures(self, known: Sequence[str]) -> None:
        """Refuse folders in which there is nothing to do.

        Parameters
        ----------
        known : sequence of str
            Paths of all images of the index; none if there is no index yet.

        Raises
        ------
        ImageSearchError
            If a path given does not exist and the index knows no image there, or there is neither a picture nor was
            one before.
        """
        for path in self.missing:
            if not any(lies_in(image, [path]) for image in known):
                raise ImageSearchError(f"there is no file or folder {path}; give the path of a picture or of a folder")
        if self.found or any(lies_in(image, self.tops) for image in known):
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
    tops = [str(absolute(path)) for path in paths]
    missing = [path for path in dict.fromkeys(tops) if not os.path.lexists(path)]
    survey = Survey(tops=tops, missing=missing, unwanted=unwanted, hold=hold)
    there = [path for path in tops if path not in survey.missing]
    for entry in find_images(there, exclude=[index], unwanted=survey.unwanted):
        survey.add(entry)
    return survey


def find_vanished(
    images: Iterable[tuple[str, bytes]], survey: Survey, *, prune: bool = False
) -> tuple[list[str], dict[str, int]]:
    """Tell which images are to be removed, and which are kept although they are gone.

    Parameters
    ----------
    images : iterable of (path, content)
        All images of the index; the absolute path of each.
    survey : Survey
    prune : bool
        Whether images of folders that are gone as a whole are removed too.

    Returns
    -------
    removed : list of str
        Paths that were not found: single files, files that are there but no longer belong to what was walked or that
        are excluded, whether they are there or not, and
        those of folders whose every content lies elsewhere too.
    kept : dict
        For each folder that is missing or empty as a whole, the number of its images.
    """
    known = list(images)
    unseen = {path: content for path, content in known if survey.is_unseen(path)}
    survey.excluded_images = sum(map(survey.unwanted.cover, unseen))
    if prune or not unseen:
        return list(unseen), {}
    groups: dict[str, list[str]] = {}
    removed: list[str] = []
    for path in unseen:
        folder = survey.emptied(path)
        if folder is None or survey.unwanted.cover(path) or os.path.lexists(path):
            removed.append(path)
        else:
            groups.setdefault(folder, []).append(path)
    wanted = {unseen[path] for paths in groups.values() for path in paths}
    elsewhere = {
        content
        for path, content in known
        if content in wanted and path not in unseen and (path in survey.seen or os.path.lexists(path))
    }
    kept: dict[str, int] = {}
    for folder, paths in sorted(groups.items()):
        if all(unseen[path] in elsewhere for path in paths):
            removed += paths
        else:
            kept[folder] = len(paths)
    return removed, kept
