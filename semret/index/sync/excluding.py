"""What a run leaves out: the patterns that the index remembers, and those that are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from semret.index.collection import open_collection
from semret.index.pictures.exclusion import Exclusions, make_rules
from semret.index.store.excluded_file import read_excluded, write_excluded
from semret.index.store.manifest import MANIFEST_NAME
from semret.index.store.root import Root
from semret.index.sync.report import SyncOptions
from semret.paths import PathLike, absolute, is_address


@dataclass(frozen=True)
class Excluding:
    """The patterns of a run.

    Attributes
    ----------
    exclusions : Exclusions
        In force.
    changed : bool
        Whether the index remembers others.
    """

    exclusions: Exclusions
    changed: bool

    def remember(self, index: Path) -> None:
        """Let the index remember the patterns.

        Parameters
        ----------
        index : Path
            Index directory; the caller holds the right to write to it.

        Raises
        ------
        StorageError
            If the disk is full, read-only, or refuses access.
        """
        if self.changed:
            write_excluded(index, self.exclusions.rules)


def find_excluding(index: Path, paths: Sequence[PathLike], options: SyncOptions) -> Excluding:
    """Find what a run leaves out: what the index remembers, unless that is to be forgotten, then what is given.

    Parameters
    ----------
    index : Path
        Index directory; need not exist.
    paths : sequence of path
        Files and folders to be indexed; given patterns with a slash are seen from these folders, and of files from
        those that hold them.
    options : SyncOptions

    Returns
    -------
    Excluding

    Raises
    ------
    ArgumentError
        If a pattern matches nothing.
    IndexCorruptError
        If what is remembered cannot be read.
    """
    exists = (index / MANIFEST_NAME).is_file()
    remembered = read_excluded(index) if exists and not options.no_exclude else ()
    # A file that is to be forgotten need not be readable.
    changed = not exists or options.no_exclude
    if not remembered and not options.exclude:
        return Excluding(Exclusions(), changed)
    root = _root(index, paths, options, exists=exists)
    tops = [absolute(path) for path in paths if not is_address(path)]
    folders = [str(top.parent if top.is_file() else top) for top in tops]
    new = [rule for rule in make_rules(options.exclude, folders, root) if rule not in remembered]
    return Excluding(Exclusions((*remembered, *new), str(root.folder)), changed or bool(new))


def _root(index: Path, paths: Sequence[PathLike], options: SyncOptions, *, exists: bool) -> Root:
    """Return the folder that paths are going to be stored relative to."""
    if options.root is not None:
        return Root.at(index, options.root)
    if not exists:
        return Root.choose(index, paths)
    with open_collection(index) as collection:
        return collection.root
