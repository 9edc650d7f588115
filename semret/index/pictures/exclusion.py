"""Which files and folders the user wants left out, by patterns as in a ``.gitignore``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from semret.arrays import require_text
from semret.errors import ArgumentError

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

LONGEST_PATTERN = 4096
"""Characters of a pattern; paths are no longer on most systems."""


@dataclass(frozen=True)
class Rule:
    """A pattern, and the folder that it is seen from.

    Attributes
    ----------
    folder : str or None
        As an index stores paths: from its root with forward slashes (empty for the root itself), or absolute. None for
        a pattern without a slash in it, which stands for a name at any depth.
    pattern : str
        As it was given.
    """

    folder: str | None
    pattern: str

    def __str__(self) -> str:
        if self.folder is None:
            return self.pattern
        sign = "!" if self.pattern.startswith("!") else ""
        return f"{sign}{self.folder.rstrip('/')}/{self.pattern.removeprefix('!').lstrip('/')}"


class Folders(Protocol):
    """What knows the folder that stored paths are relative to: `semret.index.store.root.Root`."""

    def to_stored(self, path: str, /) -> bytes:
        """Return how an absolute path is stored.

        Parameters
        ----------
        path : str

        Returns
        -------
        bytes
        """


def make_rules(patterns: Iterable[str], folders: Sequence[str], root: Folders) -> tuple[Rule, ...]:
    """Read patterns as they are given together with folders to be indexed.

    Parameters
    ----------
    patterns : iterable of str
    folders : sequence of str
        Absolute; a pattern with a slash in it is seen from each of them.
    root : Folders

    Returns
    -------
    tuple of Rule
        In the order of the patterns; of several that match, the last decides.

    Raises
    ------
    ArgumentError
        If a pattern stands for nothing.
    """
    rules: list[Rule] = []
    for pattern in patterns:
        check_pattern(pattern)
        anchored = "/" in pattern.removeprefix("!").rstrip("/")
        seen_from = [_stored(folder, root) for folder in folders] if anchored else [None]
        rules += [Rule(folder, pattern) for folder in dict.fromkeys(seen_from)]
    return tuple(rules)


def _stored(folder: str, root: Folders) -> str:
    # What lies below the folder has a name that tells also where the root itself is meant.
    below = os.fsdecode(root.to_stored(os.path.join(folder, "x")))  # noqa: PTH118
    return below[:-1].rstrip("/") or ("/" if below.startswith("/") else "")


def check_pattern(pattern: str) -> None:
    """Refuse what can match nothing.

    Parameters
    ----------
    pattern : str

    Raises
    ------
    ArgumentError
        If the pattern is empty, a comment, too long, or has an error in it.
    """
    require_text(pattern, "a pattern", "a text")
    if len(pattern) > LONGEST_PATTERN or "\0" in pattern or "\n" in pattern:
        raise ArgumentError(f"the pattern {pattern[:40]!r}... is no pattern of one line")
    try:
        (spec,) = _spec([pattern]).patterns
        matches = spec.include is not None
    except (ValueError, TypeError):
        matches = False
    if not matches:
        raise ArgumentError(
            f"{pattern!r} matches nothing; give a pattern as in a .gitignore: *.png, raw/, holidays/**/draft.jpg"
        )


def _spec(patterns: Iterable[str]) -> GitIgnoreSpec:
    # Here to keep start-up light: most indexes have no patterns.
    from pathspec import GitIgnoreSpec

    return GitIgnoreSpec.from_lines(patterns)


@dataclass(frozen=True)
class Exclusions:
    """The rules of an index, ready to be asked about paths.

    Attributes
    ----------
    rules : tuple of Rule
    root : str
        Folder that stored paths are relative to, absolute.
    """

    rules: tuple[Rule, ...] = ()
    root: str = os.sep

    @cached_property
    def _groups(self) -> list[tuple[str | None, GitIgnoreSpec]]:
        """The rules as they follow one another, those of one folder together; folders absolute."""
        found = []
        for folder, rules in groupby(self.rules, key=lambda rule: rule.folder):
            place = None if folder is None else os.path.normpath(os.path.join(self.root, folder))  # noqa: PTH118
            found.append((place, _spec(rule.pattern for rule in rules)))
        return found

    def match(self, path: str, *, is_folder: bool) -> bool:
        """Tell whether a file or folder is to be left out, by its own path; the folders above it are not looked at.

        Parameters
        ----------
        path : str
            Absolute.
        is_folder : bool

        Returns
        -------
        bool
        """
        out = False
        for folder, spec in self._groups:
            name = os.path.basename(path) if folder is None else _below(path, folder)  # noqa: PTH119
            if name:
                decided = spec.check_file(name + "/" if is_folder else name).include
                out = out if decided is None else decided
        return out

    def cover(self, path: str, *, is_folder: bool = False) -> bool:
        """Tell whether a path, or a folder above it, is to be left out.

        Parameters
        ----------
        path : str
            Absolute.
        is_folder : bool
            Whether the path itself is one.

        Returns
        -------
        bool
            Of what lies outside the root, all folders above count.
        """
        if not self.rules:
            return False
        place = self.root if _below(path, self.root) else os.sep
        parts = Path(_below(path, place) or path).parts
        for number, part in enumerate(parts, start=1):
            place = os.path.join(place, part)  # noqa: PTH118
            if self.match(place, is_folder=is_folder or number < len(parts)):
                return True
        return False


def _below(path: str, folder: str) -> str | None:
    """Return the path from a folder; None where it is not below it."""
    prefix = folder.rstrip(os.sep) + os.sep
    return path[len(prefix) :] if path.startswith(prefix) else None
