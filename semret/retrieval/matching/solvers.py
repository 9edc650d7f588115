"""The table of solvers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from semret.arrays import FloatArray, IndexVector
from semret.errors import ArgumentError
from semret.retrieval.matching import approximate, references
from semret.retrieval.matching.approximate import Norms
from semret.retrieval.matching.auction import solve_exactly

Run = Callable[..., IndexVector]


@dataclass(frozen=True, kw_only=True)
class Solver:
    """One way to match.

    Attributes
    ----------
    name : str
        The name that chooses it.
    exact : bool
        Whether its matchings are optimal.
    summary : str
        What it does, in one line.
    options : mapping of str to int
        Its options and their defaults.
    needs_norms : bool
        Whether it sorts tokens by norm, and so needs `row_norms` and `column_norms`.
    run : callable
        From checked affinities (K, Sq, Sd), `Norms` if `needs_norms`, and the options, to assignments (K, Sq), on one
        thread. Use `match_batch`, which checks, values and bounds.
    """

    name: str
    exact: bool
    summary: str
    options: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    needs_norms: bool = False
    run: Run = field(repr=False)

    def settings(self, given: Mapping[str, Any]) -> dict[str, int]:
        """Fill up the options that were given with the defaults.

        Parameters
        ----------
        given : mapping of str to int

        Returns
        -------
        dict
            A value for every option of this solver.

        Raises
        ------
        ArgumentError
            If an option is not one of this solver's or is not a positive integer.
        """
        unknown = sorted(set(given) - set(self.options))
        if unknown:
            known = f"its options are {', '.join(self.options)}" if self.options else "it has none"
            raise ArgumentError(f"solver {self.name} has no option {', '.join(unknown)}; {known}")
        for name, value in given.items():
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
                raise ArgumentError(f"option {name} of solver {self.name} is {value!r}, expected a positive integer")
        return {**self.options, **{name: int(value) for name, value in given.items()}}


def _auction(affinities: FloatArray) -> IndexVector:
    return solve_exactly(affinities, threads=1).assignments


def _each(solve: Callable[[FloatArray], IndexVector]) -> Run:
    def run(affinities: FloatArray) -> IndexVector:
        found: IndexVector = np.empty(affinities.shape[:2], dtype=np.intp)
        for row, affinity in enumerate(affinities):
            found[row] = solve(affinity)
        return found

    return run


def _sorted(solve: Callable[..., IndexVector]) -> Run:
    def run(affinities: FloatArray, norms: Norms, **options: int) -> IndexVector:
        return solve(affinities, norms, **options)

    return run


SOLVERS: Mapping[str, Solver] = MappingProxyType(
    {
        solver.name: solver
        for solver in (
            Solver(
                name="auction",
                exact=True,
                summary="fixed-point auction finished by shortest paths; the default",
                run=_auction,
            ),
            Solver(
                name="scipy",
                exact=True,
                summary="scipy.optimize.linear_sum_assignment, the reference",
                run=_each(references.solve_scipy),
            ),
            Solver(
                name="ortools",
                exact=True,
                summary="OR-Tools' cost-scaling push-relabel on integer costs",
                run=_each(references.solve_ortools),
            ),
            Solver(
                name="greedy",
                exact=False,
                summary="rows in descending norm take their best free column",
                needs_norms=True,
                run=_sorted(approximate.match_greedy),
            ),
            Solver(
                name="topk-greedy",
                exact=False,
                summary="optimal among the largest norms of each side, greedy for the rest",
                options=MappingProxyType({"top": 128}),
                needs_norms=True,
                run=_sorted(approximate.match_topk_greedy),
            ),
            Solver(
                name="batch-optimal",
                exact=False,
                summary="both sides sorted by norm, optimal within batches",
                options=MappingProxyType({"window": 512}),
                needs_norms=True,
                run=_sorted(approximate.match_batch_optimal),
            ),
            Solver(
                name="identity",
                exact=False,
                summary="equal positions matched, nothing searched",
                run=approximate.match_identity,
            ),
        )
    }
)
"""Every solver by name."""
