r"""One-to-one matching of two sets of tokens.

A matching pairs rows of an affinity ``A`` (Sq, Sd) with columns, each at most once and the smaller side completely;
its value is :math:`\sum_i A_{i,\pi(i)}` (equation 4 asks for the largest). Larger affinity is more alike.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeGuard, overload

from numpy.typing import ArrayLike

from semret.arrays import Float64Array, as_array, require_flag, require_ndim
from semret.errors import UnknownNameError
from semret.retrieval.matching.approximate import Norms
from semret.retrieval.matching.auction import EFFORTS, AuctionBatch
from semret.retrieval.matching.batch import Batch, check_shape, checked_affinities, checked_sizes
from semret.retrieval.matching.results import BatchMatching, Matching
from semret.retrieval.matching.solvers import SOLVERS, Solver

if TYPE_CHECKING:
    from torch import Tensor

    from semret.retrieval.matching.tensors import TensorMatching

__all__ = [
    "EFFORTS",
    "SOLVERS",
    "AuctionBatch",
    "BatchMatching",
    "Matching",
    "Norms",
    "Solver",
    "match",
    "match_batch",
    "upper_bounds",
]


def match(
    affinity: ArrayLike,
    *,
    row_norms: ArrayLike | None = None,
    column_norms: ArrayLike | None = None,
    solver: str = "auction",
    **options: Any,
) -> Matching:
    r"""Match the rows of an affinity with its columns, one to one, for the largest sum.

    Solves :math:`\max_\pi \sum_i A_{i,\pi(i)}` (equation 4), or approximates it if the solver is not exact.

    Parameters
    ----------
    affinity : array_like of shape (Sq, Sd)
        Larger is more alike. float16, float32 and float64 count as given, integers as float64.
    row_norms, column_norms : array_like of shape (Sq,) and (Sd,), or None
        Norms of the tokens, for solvers that sort by them (greedy, topk-greedy, batch-optimal).
    solver : str
        A name of `SOLVERS`.
    **options
        Options of the solver: ``top`` of topk-greedy, ``window`` of batch-optimal.

    Returns
    -------
    Matching
        Of several optimal matchings, any.

    Raises
    ------
    ShapeError
        If the affinity is not two-dimensional, or empty, or the norms do not fit.
    NonFiniteError
        If the affinity or a norm holds NaN or infinity.
    UnknownNameError
        If there is no such solver.
    ArgumentError
        If the solver has no such option, or needs norms that are missing; if entries are masked, or so large that
        matched sums overflow float64.

    Examples
    --------
    >>> found = match([[3.0, 2.0], [2.0, 0.0]])
    >>> found.assignment.tolist(), found.value, found.exact
    ([1, 0], 4.0, True)
    """
    array = as_array(affinity, "the affinity")
    require_ndim(array, 2, "the affinity", "(Sq, Sd)")
    check_shape((1, *array.shape))
    found = match_batch(
        array[None],
        row_norms=row_norms,
        column_norms=None if column_norms is None else as_array(column_norms, "column_norms")[None],
        solver=solver,
        threads=1,
        **options,
    )
    return Matching(
        assignment=found.assignments[0],
        value=float(found.values[0]),
        bound=float(found.bounds[0]),
        gap=float(found.gaps[0]),
        exact=found.exact,
        solver=found.solver,
    )


@overload
def match_batch(
    affinities: Tensor,
    *,
    sizes: ArrayLike | Tensor | None = ...,
    cost: bool = ...,
    row_norms: ArrayLike | None = ...,
    column_norms: ArrayLike | None = ...,
    solver: str = ...,
    threads: int | None = ...,
    **options: Any,
) -> TensorMatching: ...
@overload
def match_batch(
    affinities: ArrayLike,
    *,
    sizes: ArrayLike | Tensor | None = ...,
    cost: bool = ...,
    row_norms: ArrayLike | None = ...,
    column_norms: ArrayLike | None = ...,
    solver: str = ...,
    threads: int | None = ...,
    **options: Any,
) -> BatchMatching: ...
def match_batch(
    affinities: ArrayLike | Tensor,
    *,
    sizes: ArrayLike | Tensor | None = None,
    cost: bool = False,
    row_norms: ArrayLike | None = None,
    column_norms: ArrayLike | None = None,
    solver: str = "auction",
    threads: int | None = None,
    **options: Any,
) -> BatchMatching | TensorMatching:
    """Match each of many affinities: what a loop over `scipy.optimize.linear_sum_assignment` does, in one call.

    The result for an affinity does not depend on the others, nor on the number of threads.

    Parameters
    ----------
    affinities : array_like or torch.Tensor of shape (K, Sq, Sd)
        See `match`. K may be 0, and so may Sq or Sd: then nothing is matched. A tensor is matched where it is: on a
        CUDA device by Triton kernels (solver auction, sides up to 4,096), otherwise on the processor. Gradients do not
        flow through it.
    sizes : array_like or tensor of shape (K, 2), integers, or None
        How many rows and columns of each count; the rest is padding, which is never looked at and may hold anything.
        None: all of them.
    cost : bool
        Whether entries are costs, of which the smallest sum is wanted. Values then are sums of costs, and bounds lie
        below them.
    row_norms, column_norms : array_like of shape (Sq,) and (K, Sd), or None
        See `match`.
    solver : str
        A name of `SOLVERS`.
    threads : int or None
        Threads of solver auction on the processor; None takes all. The other solvers run on one.
    **options
        See `match`.

    Returns
    -------
    BatchMatching, or TensorMatching for a tensor
        The latter's tensors are on the device of the affinities. Rows and columns of padding are matched with nothing.

    Raises
    ------
    ShapeError, NonFiniteError, UnknownNameError, ArgumentError
        See `match`; also if sizes do not fit.

    Examples
    --------
    3 + 0 < 2 + 2 in the first affinity, and 3 + 3 > 2 + 2 in the second; equal positions are matched otherwise.

    >>> both = [[[3.0, 2.0], [2.0, 0.0]], [[3.0, 2.0], [2.0, 3.0]]]
    >>> found = match_batch(both)
    >>> found.assignments.tolist(), found.values.tolist()
    ([[1, 0], [0, 1]], [4.0, 6.0])
    >>> match_batch(both, solver="identity").values.tolist()
    [3.0, 6.0]

    As costs, and of the second affinity the first row alone:

    >>> found = match_batch(both, cost=True, sizes=[[2, 2], [1, 2]])
    >>> found.assignments.tolist(), found.values.tolist()
    ([[0, 1], [1, -1]], [3.0, 2.0])
    """
    chosen = SOLVERS.get(solver)
    if chosen is None:
        raise UnknownNameError.among("solver", solver, list(SOLVERS))
    require_flag(cost, "cost")
    settings = chosen.settings(options)
    batch = Batch(chosen, settings, row_norms, column_norms, threads)
    if not _is_tensor(affinities):
        array = as_array(affinities, "affinities")
        return batch.match(array, checked_sizes(sizes, array.shape), cost=cost)
    from semret.retrieval.matching import tensors

    tensors.require_dense(affinities)
    check_shape(tuple(affinities.shape), may_be_empty=True)
    counts = checked_sizes(sizes, tuple(affinities.shape))
    on_device = chosen.name == "auction" and 0 not in affinities.shape[1:]
    found = tensors.on_device(affinities, counts, cost=cost) if on_device else None
    if found is not None:
        return found
    array = as_array(affinities, "affinities")
    return tensors.as_tensors(batch.match(array, counts, cost=cost), affinities)


def _is_tensor(affinities: Any) -> TypeGuard[Tensor]:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(affinities, torch.Tensor)


def upper_bounds(affinities: ArrayLike, *, effort: str, threads: int | None = None) -> Float64Array:
    """Bound the largest matching of each of many affinities from above, rounding included.

    Parameters
    ----------
    affinities : array_like of shape (K, Sq, Sd)
        See `match_batch`.
    effort : str
        One of `EFFORTS`, cheapest and loosest first; see `AuctionBatch.tighten`, which can also continue to a tighter
        bound or to the optimum where this function would start again.
    threads : int or None
        None takes all processors.

    Returns
    -------
    ndarray of shape (K,), float64

    Raises
    ------
    ShapeError, NonFiniteError, ArgumentError
        If the affinities or the effort are not as described.

    Examples
    --------
    The best matching of these two tokens is worth 4. Row maxima add up to 3 + 2, and so do column maxima; the sweep
    proves the optimum.

    >>> affinity = [[[3.0, 2.0], [2.0, 0.0]]]
    >>> [upper_bounds(affinity, effort=effort).round(9).tolist() for effort in ("maxima", "sweep")]
    [[5.0], [4.0]]
    """
    return AuctionBatch(checked_affinities(affinities), threads=threads).tighten(effort)
