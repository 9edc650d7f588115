"""The names by which a comparison is chosen, and the refusal of unknown ones."""

from __future__ import annotations

from collections.abc import Iterable

from semret.centers import CENTERINGS
from semret.errors import UnknownNameError
from semret.retrieval.matching.solvers import SOLVERS

KERNELS = ("cosine", "linear", "rbf")
"""Names of the kernels; the first is the default."""

INVARIANCES = ("permutation", "none", "maxsim", "pooled")
"""What a comparison may disregard; the first, matched positions, is the default."""


SCORES = ("symmetric", "query")
"""What a score asks: how alike two pictures are, the default, or how much of the query the other shows."""


def check_modes(kernel: str, invariance: str, center: str = "none", solver: str = "auction") -> None:
    """Refuse a comparison of which some part has no such name.

    Parameters
    ----------
    kernel, invariance, center, solver : str
        Names of `KERNELS`, `INVARIANCES`, `semret.centers.CENTERINGS` and `semret.retrieval.matching.solvers.SOLVERS`.

    Raises
    ------
    UnknownNameError
        If one is unknown; the message offers a close match.
    """
    check_name("kernel", kernel, KERNELS)
    check_name("invariance", invariance, INVARIANCES)
    check_name("center", center, CENTERINGS)
    check_name("solver", solver, SOLVERS)


def check_name(role: str, name: str, known: Iterable[str]) -> None:
    """Refuse a name that is not one of those known.

    Parameters
    ----------
    role : str
        What is named, for the message: ``kernel``.
    name : str
    known : iterable of str

    Raises
    ------
    UnknownNameError
        If `name` is not among them; the message offers a close match.
    """
    names = list(known)
    if name not in names:
        raise UnknownNameError.among(role, name, names)
