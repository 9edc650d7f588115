"""Matching of torch tensors, on the device where they are."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from semret.arrays import IndexVector
from semret.errors import ArgumentError, ShapeError
from semret.retrieval.matching.cuda import LONGEST_SIDE, DeviceMatching, match_on_device, why_unavailable
from semret.retrieval.matching.results import BatchMatching

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class TensorMatching:
    """Matchings of K affinities, as tensors on the device of the affinities.

    Attributes
    ----------
    assignments : Tensor of shape (K, Sq), int64
        The column of each row; -1 for a row without one.
    values, bounds, gaps : Tensor of shape (K,), float64
        See `semret.retrieval.matching.results.Matching`; of costs, values are their sums and bounds lie below them.
    exact : bool
        Whether all K matchings are optimal.
    solver : str
        Name of the solver that found them.
    """

    assignments: Tensor
    values: Tensor
    bounds: Tensor
    gaps: Tensor
    exact: bool
    solver: str

    def pairs(self, index: int) -> tuple[Tensor, Tensor]:
        """Return the matched rows, ascending, and their columns, as `scipy.optimize.linear_sum_assignment` does.

        Parameters
        ----------
        index : int
            Which of the K.

        Returns
        -------
        rows, columns : Tensor of shape (matched,), int64
        """
        chosen = self.assignments[index]
        rows = torch.nonzero(chosen >= 0)[:, 0]
        return rows, chosen[rows]


def require_dense(affinities: Tensor) -> None:
    """Refuse tensors that are no plain block of numbers.

    Parameters
    ----------
    affinities : Tensor

    Raises
    ------
    ShapeError
        If it is sparse, nested, quantised, or has no data.
    """
    is_block = affinities.layout is torch.strided and not affinities.is_nested and not affinities.is_quantized
    if not is_block or affinities.device.type == "meta":
        kind = "nested" if affinities.is_nested else f"on device {affinities.device}, layout {affinities.layout}"
        raise ShapeError(
            f"affinities is a tensor of {affinities.dtype}, {kind}; expected a dense one of numbers: "
            "to_dense(), to_padded_tensor() or dequantize() make such"
        )


def on_device(affinities: Tensor, sizes: IndexVector | None, *, cost: bool) -> TensorMatching | None:
    """Match affinities on their device with solver auction.

    Parameters
    ----------
    affinities : Tensor of shape (K, Sq, Sd)
    sizes : ndarray of shape (K, 2), intp, or None
        Rows and columns of each that count, all at least 1.
    cost : bool
        Whether the smallest sum is wanted.

    Returns
    -------
    TensorMatching or None
        None where they are for the processor: on other devices than cuda, for sides beyond `LONGEST_SIDE`, or without
        Triton, which is warned of.

    Raises
    ------
    NonFiniteError, ArgumentError
        See `semret.retrieval.matching.match_batch`.
    """
    kind = affinities.device.type
    if kind == "cpu" and why_unavailable(kind) is not None:
        return None
    if kind not in ("cpu", "cuda") or max(affinities.shape[1:]) > LONGEST_SIDE:
        return None
    if (reason := why_unavailable(kind)) is not None:
        warnings.warn(f"matched on the processor: {reason}", stacklevel=4)
        return None
    given = _of_known_dtype(affinities.detach())
    if sizes is None or sizes.all():
        return _matched(given, sizes, cost=cost)
    full = np.flatnonzero(sizes.all(axis=1))
    chosen = torch.from_numpy(full).to(given.device)
    return _spread(_matched(given[chosen], sizes[full], cost=cost), chosen, len(sizes))


def _matched(given: Tensor, sizes: IndexVector | None, *, cost: bool) -> TensorMatching:
    wide, rows, columns, turned = _wide(-given if cost else given, sizes)
    _refuse_overflow(wide)
    found = match_on_device(wide, rows=rows, columns=columns)
    return _result(found, _as_given(found.assignments, turned, tuple(given.shape[1:])), cost=cost)


def _spread(found: TensorMatching, chosen: Tensor, count: int) -> TensorMatching:
    """Put matchings to their places among `count`, of which the others have nothing to match."""
    spread: dict[str, Tensor] = {}
    for name, empty in (("assignments", -1), ("values", 0), ("bounds", 0), ("gaps", 0)):
        part: Tensor = getattr(found, name)
        spread[name] = part.new_full((count, *part.shape[1:]), empty)
        spread[name][chosen] = part
    return TensorMatching(**spread, exact=found.exact, solver=found.solver)


def as_tensors(found: BatchMatching, affinities: Tensor) -> TensorMatching:
    """Return matchings from the processor as tensors beside the affinities.

    Parameters
    ----------
    found : BatchMatching
    affinities : Tensor

    Returns
    -------
    TensorMatching
    """

    def put(array: Any) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(affinities.device)

    numbers = {name: put(getattr(found, name)) for name in ("assignments", "values", "bounds", "gaps")}
    return TensorMatching(**numbers, exact=found.exact, solver=found.solver)


def _of_known_dtype(given: Tensor) -> Tensor:
    if given.dtype in (torch.float16, torch.float32, torch.float64):
        return given
    if given.dtype == torch.bfloat16:
        return given.float()
    if given.is_complex():
        raise ShapeError(f"the affinity has dtype {given.dtype}, expected float16, bfloat16, float32 or float64")
    return given.double()


def _refuse_overflow(given: Tensor) -> None:
    """Raise ArgumentError if a matched sum may exceed float64; narrower values cannot."""
    if given.dtype != torch.float64 or given.numel() == 0:
        return
    largest, shorter = float(given.abs().max()), min(given.shape[1:])
    if np.isfinite(largest) and largest > np.finfo(np.float64).max / (4 * shorter):
        raise ArgumentError(
            f"the affinity has values up to {largest:.3g}; sums of {shorter} of them overflow float64, "
            "divide it by a power of two first"
        )


def _wide(given: Tensor, sizes: IndexVector | None) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor]:
    """Turn affinities so that none has more rows than columns; return them, their sizes, and which were turned."""
    count, most, longest = given.shape
    if sizes is None:
        tall = most > longest
        turned = torch.full((count,), tall, device=given.device)
        return (given.transpose(1, 2) if tall else given).contiguous(), None, None, turned
    tall_ones = sizes[:, 0] > sizes[:, 1]
    rows, columns = sizes.min(axis=1), sizes.max(axis=1)
    turned = torch.from_numpy(tall_ones).to(given.device)
    wide = torch.zeros(
        (count, int(rows.max(initial=1)), int(columns.max(initial=1))), dtype=given.dtype, device=given.device
    )
    for tall in (False, True):
        chosen = torch.nonzero(turned == tall)[:, 0]
        part = given[chosen].transpose(1, 2) if tall else given[chosen]
        part = part[:, : wide.shape[1], : wide.shape[2]]
        wide[chosen, : part.shape[1], : part.shape[2]] = part
    few, many = (torch.from_numpy(side.astype(np.int32)).to(given.device) for side in (rows, columns))
    return wide, few, many, turned


def _as_given(found: Tensor, turned: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Turn assignments of the wide affinities to those of the affinities as given, (K, Sq)."""
    count, most = found.shape
    given = torch.full((count, shape[0] + 1), -1, dtype=torch.int64, device=found.device)
    wide = ~turned
    given[wide, : min(most, shape[0])] = found[wide][:, : min(most, shape[0])]
    columns = torch.arange(most, device=found.device).expand(int(turned.sum()), most)
    partners = torch.where(found[turned] >= 0, found[turned], shape[0])
    given[turned] = given[turned].scatter(1, partners, columns)
    return given[:, : shape[0]].contiguous()


def _result(found: DeviceMatching, assignments: Tensor, *, cost: bool) -> TensorMatching:
    bounds = torch.maximum(found.bounds, found.values)
    gaps, sign = found.gaps, -1.0 if cost else 1.0
    return TensorMatching(
        assignments=assignments,
        values=sign * found.values,
        bounds=sign * bounds,
        gaps=gaps,
        exact=not bool(gaps.any()),
        solver="auction",
    )
