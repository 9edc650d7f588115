"""A method's time and quality on pairs of token maps, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from semret.arrays import Float64Array, IndexVector
from semret.eval.report.values import finite
from semret.retrieval.matching.solvers import SOLVERS


@dataclass(frozen=True, kw_only=True)
class Method:
    """A solver with its options."""

    solver: str
    options: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def name(self) -> str:
        """The solver's name and the values of its options: ``batch-optimal 512``."""
        return " ".join([self.solver, *map(str, self.options.values())])

    def at(self, positions: int) -> tuple[str, tuple[tuple[str, int], ...]]:
        """Return what tells the method apart at a number of positions: an option beyond that number changes nothing.

        Parameters
        ----------
        positions : int
            S of the maps.

        Returns
        -------
        tuple
            The solver, and pairs of an option's name and its value, at most `positions`.
        """
        return self.solver, tuple((name, min(value, positions)) for name, value in self.options.items())


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Time and quality of one method on one kind of problem.

    Attributes
    ----------
    label : str
        Which maps were matched: an input size, or a layer.
    positions, channels : int
        S and C of the maps.
    method : str
    exact : bool
        Whether the method promises the optimum.
    milliseconds : float
        Median wall time of one matching on one thread, without the affinity and without the bound (solver auction:
        with its bound, of which it is a by-product).
    quartiles : (float, float)
        The first and third quartile of the times.
    quality : float
        Mean share of the optimal value that was found; 1 is the optimum. NaN where a share says nothing: for some pair
        the value of the identity, or of a method, lies further below zero than the optimum above it.
    distance : float
        Mean distance from the optimum in units of the identity's, ``(optimum - found) / (optimum - identity)``; 0 is
        the optimum, 1 as good as the identity. Adding a constant to all affinities does not change it.
    speedup : float
        Median over the pairs of SciPy's time divided by this method's; NaN where SciPy did not run.
    affinity_milliseconds : float
        Median wall time of the product that forms the affinity, on one thread, as a rerank forms it.
    pairs : int
        Pairs of maps that were matched.
    intervals : mapping from ``milliseconds``, ``quality``, ``distance``, ``speedup`` to (low, high)
        95 % percentile bootstrap over pairs; of times over the turns of the groups of pairs that were timed together.
    """

    label: str
    positions: int
    channels: int
    method: str
    exact: bool
    milliseconds: float
    quartiles: tuple[float, float]
    quality: float
    distance: float
    speedup: float
    affinity_milliseconds: float
    pairs: int
    intervals: Mapping[str, tuple[float, float]]

    @property
    def measurement(self) -> tuple[str, ...]:
        """What tells measurements apart: methods that are the same on these maps were measured once and share it."""
        return self.label, self.method.split(" ")[0], *map(str, (self.milliseconds, self.quality, self.distance))

    def as_json(self) -> dict[str, Any]:
        """Return the fields by name; NaN becomes None.

        Returns
        -------
        dict
        """
        fields = {**asdict(self), "intervals": {name: list(ends) for name, ends in self.intervals.items()}}
        cleaned: dict[str, Any] = finite(fields)
        return cleaned


@dataclass(frozen=True)
class Measured:
    """What was found for pairs: (methods, pairs) seconds and values, (pairs,) optima, identities, products, groups."""

    seconds: Float64Array
    values: Float64Array
    optima: Float64Array
    identities: Float64Array
    products: Float64Array
    groups: IndexVector


def summarise(
    found: Measured, methods: Sequence[Method], rows: Sequence[int], *, label: str, positions: int, channels: int,
    seed: int = 0,
) -> list[Cost]:  # fmt: skip
    """Turn measurements into a cost for each method.

    Parameters
    ----------
    found : Measured
    methods : sequence of Method
    rows : sequence of int
        The row of `found` that holds each method's values.
    label : str
        Which maps were matched.
    positions, channels : int
        S and C of the maps.
    seed : int
        Of the intervals.

    Returns
    -------
    list of Cost
        In the order of `methods`.
    """
    shares, distances = relative_qualities(found.values, found.optima, found.identities)
    reference = next((row for row, method in zip(rows, methods, strict=True) if method.solver == "scipy"), None)
    costs = []
    for row, method in zip(rows, methods, strict=True):
        seconds = found.seconds[row]
        speedups = np.full(len(seconds), np.nan) if reference is None else found.seconds[reference] / seconds
        each = np.arange(len(seconds))
        samples: dict[str, tuple[Float64Array, Callable[..., Any], IndexVector]] = {
            "milliseconds": (1000 * seconds, np.median, found.groups), "quality": (shares[row], np.mean, each),
            "distance": (distances[row], np.nanmean, each), "speedup": (speedups, np.median, found.groups),
        }  # fmt: skip
        point = {name: _of(statistic, values) for name, (values, statistic, _) in samples.items()}
        ends = {name: _interval(*sample, seed) for name, sample in samples.items()}
        costs.append(
            Cost(
                label=label,
                positions=positions,
                channels=channels,
                method=method.name,
                exact=SOLVERS[method.solver].exact,
                **point,
                pairs=len(seconds),
                intervals=ends,
                quartiles=(1000 * float(np.quantile(seconds, 0.25)), 1000 * float(np.quantile(seconds, 0.75))),
                affinity_milliseconds=1000 * float(np.median(found.products)),
            )
        )  # fmt: skip
    return costs


def relative_qualities(
    values: Float64Array, optima: Float64Array, identities: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """Relate values of matchings to the optimum and to the identity.

    All shares are NaN where one of them would mean nothing; see `Cost`. A pair whose identity is optimal has distance
    0 where the optimum was found, and otherwise NaN. Maps that match nothing count as solved.

    Parameters
    ----------
    values : ndarray of shape (methods, pairs), float64
        What each method found.
    optima, identities : ndarray of shape (pairs,), float64
        The optimal values, and those of comparing equal positions.

    Returns
    -------
    shares : ndarray of shape (methods, pairs), float64
        Of the optimum; 1 is the optimum.
    distances : ndarray of shape (methods, pairs), float64
        From the optimum in units of the identity's; 0 is the optimum.
    """
    scale = np.maximum(np.abs(optima), np.abs(identities))
    missing, room = optima - values, optima - identities
    solved = missing <= 1e-5 * scale
    shares = np.divide(values, optima, out=np.ones_like(values), where=optima != 0)
    if (np.minimum(values.min(axis=0), identities) < -optima).any() or (optima < 0).any():
        shares = np.full_like(values, np.nan)
    possible = room > 1e-6 * scale
    distances = np.divide(missing, room, out=np.where(solved, 0.0, np.nan), where=possible)
    return shares, distances


def _of(statistic: Callable[..., Any], values: Float64Array) -> float:
    return float("nan") if np.isnan(values).all() else float(statistic(values))


def _interval(
    values: Float64Array, statistic: Callable[..., Any], groups: IndexVector, seed: int
) -> tuple[float, float]:  # fmt: skip
    """Return the 95 % percentile bootstrap interval; a group stays together, and one group gives none (NaN)."""
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    if np.isnan(values).all() or len(members) < 2:
        return float("nan"), float("nan")
    rng = np.random.default_rng([seed, 8])
    drawn = rng.integers(0, len(members), size=(1000, len(members)))
    found = [_of(statistic, values[np.concatenate([members[place] for place in row])]) for row in drawn]
    low, high = np.nanquantile(found, [0.025, 0.975])
    return float(low), float(high)
