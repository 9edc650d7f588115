"""Exact matching of batches of affinities on a GPU, in Triton.

Triton comes with torch on Linux. The kernels and how they work are in `semret.retrieval.matching.cuda_auction_kernels`
and `semret.retrieval.matching.cuda_path_kernels`; here they are given what fits their size, in parts that fit the
memory, and their outcome is checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import torch

from semret.errors import ArgumentError, NonFiniteError, ShapeError

if TYPE_CHECKING:
    from torch import Tensor

LONGEST_SIDE = 4096
"""Affinities with a longer side are for the processor."""

LEVELS = 32_000
"""Steps into which the range of an affinity is cut for the auction: what int16 holds."""

BIDS_PER_ROW = 64
"""An auction phase stops after so many bids per row: shortest paths finish what a price war would prolong."""

TILE_ENTRIES = 1024
"""How many entries a program brings into fixed point at once."""

PATH_REGISTERS = 128
"""How many registers a thread of the shortest paths may take: as many as it takes without spilling."""

SCRATCH_BYTES = 1 << 28
"""How much memory of the device the fixed-point copies of affinities may take."""


@dataclass(frozen=True, kw_only=True)
class Scales:
    """What entries that are inner products of integers are multiplied with: ``dot * (row scale * column scale)``.

    Attributes
    ----------
    rows, columns : Tensor of shape (any, S), float32 or float64
        Scales of the tokens of maps.
    rows_of, columns_of : Tensor of shape (K,), int64
        Which map each affinity's rows and columns are.
    """

    rows: Tensor
    columns: Tensor
    rows_of: Tensor
    columns_of: Tensor


@dataclass(frozen=True, kw_only=True)
class DeviceMatching:
    """Matchings of K affinities, as tensors on the device that found them.

    Attributes
    ----------
    assignments : Tensor of shape (K, rows), int64
        The column of each row; -1 for rows beyond those that count.
    values, bounds, slack : Tensor of shape (K,), float64
        Matched sums, correctly rounded but for the last of 106 bits; what no matching exceeds, rounding included; what
        rounding may add to the difference of the two.
    scans : Tensor of shape (K, 2), int32
        Bids of the auction, and rows looked at afterwards.
    """

    assignments: Tensor
    values: Tensor
    bounds: Tensor
    slack: Tensor
    scans: Tensor

    @property
    def gaps(self) -> Tensor:
        """By what share of the bound the optimum may exceed the value, (K,); 0 where within rounding."""
        difference = self.bounds - self.values
        tiny = torch.finfo(torch.float64).tiny
        return torch.where(difference <= self.slack, 0.0, difference / self.bounds.abs().clamp_min(tiny))


@cache
def why_unavailable(device: str) -> str | None:
    """Tell what keeps the kernels from running on a device.

    Parameters
    ----------
    device : str
        A device's type: cuda, cpu (under Triton's interpreter alone), ...

    Returns
    -------
    str or None
        None if nothing does.
    """
    try:
        import triton  # noqa: F401
        from triton import knobs
    except ImportError:
        return "Triton is not installed; it comes with torch on Linux (pip install triton)"
    if device == "cpu":
        return None if knobs.runtime.interpret else "Triton computes on a GPU, or on the processor when interpreted"
    if device != "cuda":
        return f"Triton kernels run on cuda devices, not on {device}"
    return None if torch.cuda.is_available() else "torch finds no CUDA device"


def match_on_device(
    affinities: Tensor,
    *,
    rows: Tensor | None = None,
    columns: Tensor | None = None,
    scales: Scales | None = None,
    finish: bool = True,
    phases: int = 4,
) -> DeviceMatching:
    """Match affinities for the largest sum, each to the optimum up to the rounding of float64.

    Outcomes are the same on every run, and do not depend on what else is in the batch.

    Parameters
    ----------
    affinities : Tensor of shape (K, R, C), float16, float32 or float64; int32 with `scales`
        R <= C <= `LONGEST_SIDE`, the last axis contiguous. What lies beyond `rows` and `columns` is never read.
    rows, columns : Tensor of shape (K,), int32, or None
        How many rows and columns of each count, with 1 <= rows <= columns; None for all.
    scales : Scales or None
    finish : bool
        False stops after the auction: there are bounds, and nothing is matched.
    phases : int
        How many phases of the auction to run at most, the coarsest first. After one the bounds of square affinities are
        good to some 2 % of their range a row, for a tenth of the time of a solve.

    Returns
    -------
    DeviceMatching
        Without `finish` all but `bounds` is undefined.

    Raises
    ------
    ArgumentError
        If Triton or the device is missing.
    ShapeError
        If a shape or dtype is another.
    NonFiniteError
        If an entry that counts is NaN or infinite.
    """
    reason = why_unavailable(affinities.device.type)
    if reason is not None:
        raise ArgumentError(reason)
    _check(affinities, scales)
    count, most, longest = affinities.shape
    found = _empty(affinities)
    if count == 0:
        return found
    whole = torch.ones(count, dtype=torch.int32, device=affinities.device)
    m = whole * most if rows is None else rows.to(torch.int32)
    n = whole * longest if columns is None else columns.to(torch.int32)
    exponent = 0 if scales is not None else _safe_exponent(affinities)
    given = affinities if exponent == 0 else torch.ldexp(affinities, torch.tensor(-exponent, device=affinities.device))
    states = torch.empty_like(whole)
    step = max(1, SCRATCH_BYTES // (2 * most * power_of_two(longest)))
    for start in range(0, count, step):
        part = slice(start, min(start + step, count))
        _launch(given[part], m[part], n[part], _of(scales, part), _rows(found, part), states[part], finish, phases)
    _require_finite(states)
    return found if exponent == 0 else _scaled(found, exponent)


def _launch(
    given: Tensor,
    m: Tensor,
    n: Tensor,
    scales: Scales | None,
    found: DeviceMatching,
    states: Tensor,
    finish: bool,
    phases: int,
) -> None:
    from semret.retrieval.matching.cuda_auction_kernels import auction_kernel, fixed_point_kernel
    from semret.retrieval.matching.cuda_path_kernels import path_kernel

    count, most, longest = given.shape
    options = launch_options(longest, phases=phases)
    width, device = power_of_two(longest), given.device
    scratch = torch.empty((count, most, width), dtype=torch.int16, device=device)
    prices, owners = torch.empty((2, count, width), dtype=torch.int32, device=device)
    quanta = torch.empty(count, dtype=torch.float64, device=device)
    if scales is None:
        scaling, lines = (quanta, quanta, m, m), (0, 0)
    else:
        scaling = (scales.rows, scales.columns, scales.rows_of, scales.columns_of)
        lines = (scales.rows.shape[1], scales.columns.shape[1])
    sizes, scaled = (most, given.stride(1), *lines), scales is not None
    fixed_point_kernel[(count,)](
        given, *scaling, m, n, scratch, quanta, states, prices, *sizes, SCALED=scaled, **options["fixed point"]
    )
    increments = _increments(longest)[:phases]
    auction_kernel[(count,)](
        scratch,
        quanta,
        m,
        n,
        prices,
        owners,
        found.scans,
        most,
        *increments,
        *[1] * (4 - len(increments)),
        **options["auction"],
    )
    path_kernel[(count,)](
        given,
        *scaling,
        m,
        n,
        quanta,
        states,
        prices,
        owners,
        found.assignments,
        found.values,
        found.bounds,
        found.slack,
        found.scans,
        *sizes,
        SCALED=scaled,
        FINISH=finish,
        **options["paths"],
    )


def launch_options(longest: int, *, phases: int = 4) -> dict[str, dict[str, Any]]:
    """Return what is fixed when the kernels are compiled for affinities of so many columns.

    Parameters
    ----------
    longest : int
        From 1 to `LONGEST_SIDE`.
    phases : int
        See `match_on_device`.

    Returns
    -------
    dict of str to dict
        Of "fixed point", "auction" and "paths": constants, and how many warps a program has and registers a thread.
    """
    width = power_of_two(longest)
    phases = min(phases, len(_increments(longest)))
    # A product that is fused with the sum after it is not rounded as the processor rounds it.
    rounded = {"W": width, "enable_fp_fusion": False}
    return {
        "fixed point": {
            "TILE": max(1, TILE_ENTRIES // width),
            "LEVELS": LEVELS,
            "num_warps": max(4, width // 256),
            **rounded,
        },
        "auction": {"W": width, "PHASES": phases, "BIDS": BIDS_PER_ROW, "num_warps": max(1, width // 512)},
        "paths": {"num_warps": max(1, width // 256), "maxnreg": PATH_REGISTERS, **rounded},
    }


def power_of_two(count: int, *, least: int = 32) -> int:
    """Return how many places a program holds for so many entries.

    Parameters
    ----------
    count : int
        At least 1.
    least : int
        A power of two.

    Returns
    -------
    int
        The first power of two that is not below either.
    """
    return max(least, 1 << (count - 1).bit_length())


def _increments(longest: int) -> list[int]:
    """Return the increments of the phases in steps; the last is the least that int16 shows."""
    shares = (0.02, 0.004) if longest < 128 else (0.01, 0.002, 0.0002, 0.00003)
    return [int(share * LEVELS) + 1 for share in shares]


def _check(affinities: Tensor, scales: Scales | None) -> None:
    shape, dtype = tuple(affinities.shape), affinities.dtype
    if len(shape) != 3 or 0 in shape[1:] or shape[1] > shape[2] or shape[2] > LONGEST_SIDE:
        raise ShapeError(f"affinities have shape {shape}, expected (K, R, C) with 1 <= R <= C <= {LONGEST_SIDE}")
    fit = (torch.int32,) if scales is not None else (torch.float16, torch.float32, torch.float64)
    if dtype not in fit:
        raise ShapeError(f"affinities have dtype {dtype}, expected {', '.join(map(str, fit))}")
    if shape[0] and (affinities.stride(2) != 1 or affinities.stride(0) != shape[1] * affinities.stride(1)):
        raise ShapeError("affinities are not contiguous, expected rows that follow each other")


def _empty(affinities: Tensor) -> DeviceMatching:
    count, most, _ = affinities.shape
    device, double = affinities.device, torch.float64
    return DeviceMatching(
        assignments=torch.full((count, most), -1, dtype=torch.int64, device=device),
        values=torch.zeros(count, dtype=double, device=device),
        bounds=torch.zeros(count, dtype=double, device=device),
        slack=torch.zeros(count, dtype=double, device=device),
        scans=torch.zeros((count, 2), dtype=torch.int32, device=device),
    )


def _rows(found: DeviceMatching, part: slice) -> DeviceMatching:
    return DeviceMatching(**{name: getattr(found, name)[part] for name in vars(found)})


def _of(scales: Scales | None, part: slice) -> Scales | None:
    if scales is None:
        return None
    return Scales(
        rows=scales.rows,
        columns=scales.columns,
        rows_of=scales.rows_of[part].contiguous(),
        columns_of=scales.columns_of[part].contiguous(),
    )


def _safe_exponent(affinities: Tensor) -> int:
    """Return the power of two to divide by so that sums in float64 neither overflow nor underflow."""
    if affinities.dtype != torch.float64 or affinities.numel() == 0:
        return 0
    largest = float(affinities.abs().max())
    if largest == 0 or largest != largest or largest == float("inf"):
        return 0
    exponent = int(torch.frexp(torch.tensor(largest, dtype=torch.float64))[1])
    return exponent if abs(exponent) > 400 else 0


def _scaled(found: DeviceMatching, exponent: int) -> DeviceMatching:
    power = torch.tensor(exponent, device=found.values.device)
    scaled: dict[str, Any] = {name: torch.ldexp(getattr(found, name), power) for name in ("values", "bounds", "slack")}
    return DeviceMatching(assignments=found.assignments, scans=found.scans, **scaled)


def _require_finite(states: Tensor) -> None:
    from semret.retrieval.matching.cuda_auction_kernels import NAN

    worst = states.cpu()
    if not bool(worst.any()):
        return
    index = int(worst.ne(0).to(torch.int32).argmax())
    kind = "NaN" if int(worst[index]) == NAN else "infinite values"
    raise NonFiniteError(f"affinity {index} holds {kind}, expected finite numbers")
