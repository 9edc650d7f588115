"""The exception tree: every error semret raises on purpose.

A message says what came, what was expected, which object, and what to do next. All errors take one plain
string, so they can be pickled and pass through a process pool.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence


class SemretError(Exception):
    """Root of all errors raised on purpose; the command line prints it as one line and exits with 1."""


class ShapeError(SemretError, ValueError):
    """An array has the wrong number of axes or the wrong length along one."""


class NonFiniteError(SemretError, ValueError):
    """An array holds NaN or infinity where numbers were expected."""


class ArgumentError(SemretError, ValueError):
    """An argument lies outside its range (``k`` of 0, a shortlist smaller than ``k``, an unknown mode)."""


class UnknownNameError(SemretError, ValueError):
    """A registry has no entry of this name; the message offers close matches."""

    @classmethod
    def among(cls, role: str, name: str, known: Sequence[str]) -> UnknownNameError:
        """Return the error that refuses a name.

        Parameters
        ----------
        role : str
            What is named: ``kernel``.
        name : str
        known : sequence of str
            What it may be.

        Returns
        -------
        UnknownNameError
        """
        close = difflib.get_close_matches(str(name), known, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        return cls(f"{role} {name!r} is unknown, expected one of {', '.join(known)}{hint}")


class MissingDependencyError(SemretError, ImportError):
    """An optional package is needed; the message names the extra that installs it."""


class SolverError(SemretError):
    """A matching solver failed or does not fit the problem."""


class ImageDecodeError(SemretError):
    """A picture cannot be read; the message names the file and the reason."""


class ImageSearchError(SemretError):
    """A path given to be searched for images does not exist, or holds no image."""


class IndexNotFoundError(SemretError):
    """No index was found where one was expected."""


class IndexEmptyError(SemretError):
    """An index holds no picture, so there is nothing to search."""


class IndexCorruptError(SemretError):
    """A file of an index is damaged; the message names it and the command that repairs it."""


class IncompatibleIndexError(SemretError):
    """An index was made with another model, geometry or format; the message says what differs."""


class IndexLockedError(SemretError):
    """Another process is writing to the index."""


class StorageError(SemretError):
    """The disk is full, read-only, or refuses access; what was committed before is intact."""


class WeightsNotFoundError(SemretError):
    """Model weights are neither on this machine nor reachable; the message says where it looked and what to do."""


class BackboneError(SemretError):
    """A backbone cannot do what was asked of it (an input size, a layer, a text query), or gave unusable output."""


class ClusterError(SemretError):
    """A cluster cannot be reached, or a computer of it cannot do what the others do; the message says which and why."""


class DatasetError(SemretError):
    """A data set does not have the layout or the content that its name promises."""


def cut_text(error: object, most: int = 120) -> str:
    """Return what another library's error says as one line that is fit to stand inside a message of ours.

    Such a text may have many lines, or quote a whole file.

    Parameters
    ----------
    error : object
        An exception, or anything else with a text.
    most : int
        Characters after which the text is cut.

    Returns
    -------
    str
        The text with every run of white space made one space; the name of the type where there is no text.
    """
    return " ".join(str(error).split())[:most] or type(error).__name__
