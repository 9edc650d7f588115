"""From token maps on a GPU to matchings: affinities formed on the tensor cores, matched, and bounds of whole databases.

Affinities exist for a few thousand pairs at a time. Integer tokens give exact inner products, so their matchings are
those of the processor; of float tokens the affinity is float32, as on the processor, and the value of what was
matched is summed in float64 from the tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from semret.errors import ShapeError
from semret.retrieval.matching.cuda import DeviceMatching, Scales, match_on_device, power_of_two

if TYPE_CHECKING:
    from torch import Tensor

AFFINITY_BYTES = 1 << 30
"""How much memory of the device affinities may take at once."""

_TILE = 32


@dataclass(frozen=True, kw_only=True)
class DeviceMaps:
    """Token maps on a device.

    Attributes
    ----------
    tokens : Tensor of shape (n, S, C), float16, float32 or float64, or int8 with scales; contiguous
    scales : Tensor of shape (n, S), float32 or float64, or None
        What integer tokens are multiplied with.
    """

    tokens: Tensor
    scales: Tensor | None = None

    def __post_init__(self) -> None:
        wanted = (torch.int8,) if self.scales is not None else (torch.float16, torch.float32, torch.float64)
        if self.tokens.dim() != 3 or 0 in self.tokens.shape[1:] or self.tokens.dtype not in wanted:
            raise ShapeError(
                f"tokens have shape {tuple(self.tokens.shape)} and dtype {self.tokens.dtype}, "
                f"expected (n, S, C) of {' or '.join(map(str, wanted))}"
            )
        if self.scales is not None and self.scales.shape != self.tokens.shape[:2]:
            raise ShapeError(f"scales have shape {tuple(self.scales.shape)}, expected {tuple(self.tokens.shape[:2])}")

    def __len__(self) -> int:
        return len(self.tokens)


def match_pairs(
    x: DeviceMaps, y: DeviceMaps, x_of: Tensor, y_of: Tensor, *, finish: bool = True, phases: int = 4
) -> tuple[DeviceMatching, bool]:
    """Match the tokens of pairs of maps, for the largest sum of inner products.

    Parameters
    ----------
    x, y : DeviceMaps
        Both of integers, or both of one float dtype.
    x_of, y_of : Tensor of shape (K,), int64
        The pairs: maps of `x` and of `y`.
    finish, phases : bool, int
        See `semret.retrieval.matching.cuda.match_on_device`.

    Returns
    -------
    found : DeviceMatching
        For integers, values and bounds are of ``dot * (scale * scale)`` in float64; for floats, values of the tokens'
        products in float64, bounds of the affinity in float32 (never below the value).
    swapped : bool
        Whether assignments give a token of `x` for each of `y`, the smaller map, rather than the other way round.

    Raises
    ------
    ShapeError
        If the maps do not fit each other.
    ArgumentError, NonFiniteError
        See `match_on_device`.
    """
    if x.tokens.dtype != y.tokens.dtype or x.tokens.shape[2] != y.tokens.shape[2]:
        raise ShapeError(
            f"the maps are {x.tokens.dtype} with {x.tokens.shape[2]} channels and {y.tokens.dtype} with "
            f"{y.tokens.shape[2]}, expected one dtype and as many channels"
        )
    swapped = x.tokens.shape[1] > y.tokens.shape[1]
    few, many, few_of, many_of = (y, x, y_of, x_of) if swapped else (x, y, x_of, y_of)
    size = (8 if x.tokens.dtype == torch.float64 else 4) * few.tokens.shape[1] * many.tokens.shape[1]
    step = max(1, AFFINITY_BYTES // size)
    parts = [
        _match(few, many, few_of[start : start + step], many_of[start : start + step], finish, phases)
        for start in range(0, max(1, len(few_of)), step)
    ]
    return _joined(parts), swapped


def bounds_of_all(query: DeviceMaps, database: DeviceMaps) -> Tensor:
    """Bound the best matching of one integer map with each of many, by one dual sweep.

    Parameters
    ----------
    query : DeviceMaps of length 1, int8
    database : DeviceMaps of length N, int8

    Returns
    -------
    Tensor of shape (N,), float64
        Rounding included: no matching is worth more.

    Raises
    ------
    ShapeError
        If the maps are of floats.
    """
    from semret.retrieval.matching.cuda_token_kernels import sweep_kernel

    if query.scales is None or database.scales is None:
        raise ShapeError("the maps are of floats, expected integers with scales")
    out = torch.empty(len(database), dtype=torch.float64, device=database.tokens.device)
    swapped = query.tokens.shape[1] > database.tokens.shape[1]
    if swapped or len(database) == 0:
        found = match_pairs(query, database, *_against_all(database), finish=False)[0] if len(database) else None
        return out if found is None else found.bounds
    rows, channels = query.tokens.shape[1:]
    scales = query.scales[0].float()
    # float32 may round a scale of float64 down: its successor is no less.
    largest = float(scales.double().abs().max()) * 127.0**2 * channels
    sweep_kernel[(len(database),)](
        query.tokens[0],
        scales,
        database.tokens,
        database.scales.float(),
        out,
        rows,
        database.tokens.shape[1],
        channels,
        largest,
        W=power_of_two(rows, least=16),
        DEPTH=power_of_two(channels),
        TILE=_TILE,
        num_warps=4,
    )
    return out


def _against_all(database: DeviceMaps) -> tuple[Tensor, Tensor]:
    numbers = torch.arange(len(database), device=database.tokens.device)
    return torch.zeros_like(numbers), numbers


def _match(
    few: DeviceMaps, many: DeviceMaps, few_of: Tensor, many_of: Tensor, finish: bool, phases: int
) -> DeviceMatching:
    affinities = form_affinities(few, many, few_of, many_of)
    if few.scales is not None and many.scales is not None:
        scales = Scales(rows=few.scales, columns=many.scales, rows_of=few_of, columns_of=many_of)
        return match_on_device(affinities, scales=scales, finish=finish, phases=phases)
    found = match_on_device(affinities, finish=finish, phases=phases)
    if not finish or len(few_of) == 0:
        return found
    values = _values(few, many, few_of, many_of, found.assignments)
    return DeviceMatching(
        assignments=found.assignments,
        values=values,
        bounds=torch.maximum(found.bounds, values),
        slack=found.slack,
        scans=found.scans,
    )


def form_affinities(x: DeviceMaps, y: DeviceMaps, x_of: Tensor, y_of: Tensor) -> Tensor:
    """Form the inner products of the tokens of pairs of maps.

    Parameters
    ----------
    x, y : DeviceMaps
    x_of, y_of : Tensor of shape (K,), int64

    Returns
    -------
    Tensor of shape (K, Sx, Sy)
        int32, of the integers alone; float64 of tokens in float64, else float32.
    """
    from semret.retrieval.matching.cuda_token_kernels import form_kernel

    if x.tokens.dtype == torch.float64:
        return torch.matmul(x.tokens[x_of], y.tokens[y_of].transpose(1, 2))
    integer = x.tokens.dtype == torch.int8
    rows, columns, channels = x.tokens.shape[1], y.tokens.shape[1], x.tokens.shape[2]
    dtype = torch.int32 if integer else torch.float32
    out = torch.empty((len(x_of), rows, columns), dtype=dtype, device=x.tokens.device)
    if len(x_of) == 0:
        return out
    block = 64 if max(rows, columns) > 32 else 32
    form_kernel[(len(x_of), -(-rows // block), -(-columns // block))](
        x.tokens,
        y.tokens,
        x_of,
        y_of,
        out,
        rows,
        columns,
        channels,
        BLOCK=block,
        DEPTH=64,
        INTEGER=integer,
        # float32 tokens as three products of their halves: the tensor cores, with the precision of float32.
        PRECISION="ieee" if x.tokens.dtype == torch.float16 else "tf32x3",
        num_warps=4,
    )
    return out


def _values(x: DeviceMaps, y: DeviceMaps, x_of: Tensor, y_of: Tensor, assignments: Tensor) -> Tensor:
    from semret.retrieval.matching.cuda_token_kernels import value_kernel

    rows, columns, channels = x.tokens.shape[1], y.tokens.shape[1], x.tokens.shape[2]
    values = torch.empty(len(x_of), dtype=torch.float64, device=x.tokens.device)
    value_kernel[(len(x_of),)](
        x.tokens, y.tokens, x_of, y_of, assignments, values, rows, columns, channels, BLOCK=16, DEPTH=64, num_warps=4
    )
    return values


def _joined(parts: list[DeviceMatching]) -> DeviceMatching:
    if len(parts) == 1:
        return parts[0]
    return DeviceMatching(**{name: torch.cat([getattr(part, name) for part in parts]) for name in vars(parts[0])})
