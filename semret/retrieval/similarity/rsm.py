"""Representational similarity matrices: every map of one set against every map of another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from semret.arrays import Float64Array, IndexVector, require_memory
from semret.errors import ArgumentError, ShapeError
from semret.progress import Progress, told
from semret.retrieval.matching.solvers import SOLVERS
from semret.retrieval.similarity.kernels import checked_scores, kernel_score, median_bandwidth, rbf
from semret.retrieval.similarity.maps import Maps, check_kernel, in_units_of_input, match_maps, prepare
from semret.retrieval.similarity.maxsim import maxsim_scores
from semret.retrieval.similarity.names import check_modes
from semret.retrieval.similarity.pairs import check_comparable, check_shapes, pooled_products, position_products
from semret.retrieval.similarity.sets import TILE_BYTES, RepresentationSet, SetLike, center_of


@overload
def rsm(x: SetLike, y: SetLike | None = ..., *, kernel: str = ..., **options: Any) -> Float64Array: ...
@overload
def rsm(x: SetLike, y: SetLike | None = ..., *, kernel: Sequence[str], **options: Any) -> dict[str, Float64Array]: ...
def rsm(
    x: SetLike,
    y: SetLike | None = None,
    *,
    kernel: str | Sequence[str] = "cosine",
    invariance: str = "permutation",
    solver: str = "auction",
    center: str | ArrayLike = "none",
    layout: str = "NSC",
    prefix_tokens: int = 0,
    sigma: float | None = None,
    tile_bytes: int = TILE_BYTES,
    threads: int | None = None,
    device: str | None = None,
    progress: Progress | bool | None = None,
    **options: Any,
) -> Float64Array | dict[str, Float64Array]:
    r"""Compare every representation of one set with every one of another, or a set with itself.

    Tokens are read tile by tile, so memory is bounded by two tiles, one tile's affinities and the result. A set with
    itself is compared once per pair where the comparison is symmetric. All kernels come from one matching pass.

    Nothing is subtracted from the maps unless `center` says so, as nothing is by `semret.matched_similarity`, while the
    scores of `SearchEngine.query` are of tokens less the channel mean of the index: the same pair of pictures has
    another score there. With ``center="none"`` a query gives the numbers of ``rsm(engine)``.

    Parameters
    ----------
    x : array_like of N representations in the given layout
        Also a memory map or an HDF5 dataset: only slices of the first axis are taken. A set whose attribute `positions`
        gives each map's number of tokens, (N,), may hold maps of different sizes. A `semret.SearchEngine` stands for
        the maps of its index, in the order of ids and whatever the layout; so does what `semret.embed` returns.
    y : array_like of M representations, or None
        None compares `x` with itself.
    kernel : str or sequence of str
        See `semret.retrieval.similarity.kernels.kernel_score`.
    invariance, solver : str
        See `semret.matched_similarity`.
    center : {"none", "channel", "position"} or array_like of shape (C,) or (S, C)
        Subtracted from both sets: nothing, the channel mean or the mean at each position of `y` (of `x` where there is
        no `y`), or the array. The paper subtracts the mean of the database at each position; a channel mean keeps the
        invariance to permutations.
    layout : {"NSC", "NCHW", "NHWC", "NTD"}
        Axes: positions then channels; channels then a grid; a grid then channels; tokens with `prefix_tokens` of class
        and register tokens, which are left out, then channels.
    prefix_tokens : int
        With layout NTD alone.
    sigma : float or None
        RBF bandwidth; by default that of all squared distances of the matrix, zeros left out, as the paper's published
        code takes it: see `semret.retrieval.similarity.kernels.median_bandwidth`.
    tile_bytes : int
        Size of a tile's tokens as float32; larger tiles read less, and change nothing else.
    threads : int or None
        Threads of the solver; None takes all.
    device : str or None
        ``cuda`` or ``cuda:N`` matches there, by Triton kernels: invariance permutation with solver auction. Scores are
        those of the processor within 1e-6 of themselves: affinities are float32 in another order of summing, the value
        of what was matched is summed in float64. Tiles stay on the device as far as they fit. None: the processor.
    progress : callable, bool or None
        Called with the number of pairs done and their total; True draws a bar.
    **options
        Of the solver.

    Returns
    -------
    ndarray of shape (N, M), float64, or dict of them by kernel
        A dict for a sequence of kernels. Empty sets give an empty matrix.

    Raises
    ------
    ShapeError
        If a shape does not fit the layout, the other set or the centre; if two indexes are of different networks or
        codecs.
    NonFiniteError
        If a value is NaN or infinite, as given or once it is centred, or a score would be.
    UnknownNameError, ArgumentError
        If a name is unknown or a number out of range; if entries are masked, or the rbf kernel's squared distances
        leave float64; if there is no such device, or nothing for it to match.

    Examples
    --------
    Three maps of two tokens: the second is the first with its tokens exchanged, the third has none of them.

    >>> import numpy as np
    >>> x = np.eye(3)[[[0, 1], [1, 0], [2, 2]]]
    >>> rsm(x).round(2).tolist()
    [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]

    Position by position the first two have nothing in common; 2 is the squared norm of each map.

    >>> rsm(x, kernel="linear", invariance="none").tolist()
    [[2.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 2.0]]
    """
    kernels = [kernel] if isinstance(kernel, str) else list(kernel)
    if not kernels:
        raise ArgumentError("kernel is empty, expected at least one name")
    for name in kernels:
        check_modes(name, invariance, solver=solver)
    if options and invariance != "permutation":
        raise ArgumentError(
            f"{', '.join(sorted(options))}: invariance {invariance} matches nothing, expected no option"
        )
    if device is not None and (invariance, solver) != ("permutation", "auction"):
        raise ArgumentError(
            f"device {device} matches with solver auction, but invariance {invariance}"
            f"{f' with solver {solver}' if invariance == 'permutation' else ''} was asked for; leave the device out"
        )
    first = RepresentationSet(x, "x", layout, prefix_tokens, tile_bytes)
    second = first if y is None else RepresentationSet(y, "y", layout, prefix_tokens, tile_bytes)
    if None not in (first.space, second.space) and first.space != second.space:
        raise ShapeError(
            f"x holds maps of {first.space}, y of {second.space}, whose channels have nothing in common; compare "
            "indexes of one network, made with --codec none or with one codec, or rsm(x) with rsm(y) by cka"
        )
    middle = center_of(second, center)
    compare = _Comparison(kernels, invariance, solver, sigma, threads, options)
    with told(progress, "pairs") as tell:
        matrices = _pass(device)(first, second, middle, compare, tell).run()
    return matrices[kernel] if isinstance(kernel, str) else matrices


def _pass(device: str | None) -> Callable[..., _Pass]:
    if device is None:
        return _Pass
    from semret.retrieval.similarity.device_tiles import require_device

    return partial(_DevicePass, require_device(device))


class _Comparison:
    """What is measured of a pair: inner products, or for maxsim one matrix per kernel."""

    def __init__(
        self,
        kernels: list[str],
        invariance: str,
        solver: str,
        sigma: float | None,
        threads: int | None,
        options: dict[str, Any],
    ) -> None:
        self.kernels, self.invariance, self.solver = kernels, invariance, solver
        self.sigma, self.threads, self.options = sigma, threads, options
        # An approximate solver may find another matching from the other side.
        self.symmetric = invariance in ("none", "pooled") or (invariance == "permutation" and SOLVERS[solver].exact)
        self.measures = kernels if invariance == "maxsim" else ["product"]

    def measure(self, one: Maps, many: Maps) -> list[Float64Array]:
        """Return what `measures` names, of one map with many; maxsim's rbf is still a squared distance."""
        if self.invariance == "maxsim":
            return list(maxsim_scores(one, many, self.kernels).values())
        if self.invariance == "none":
            return [position_products(one, many)]
        if self.invariance == "pooled":
            return [pooled_products(one, many)]
        return [match_maps(one, many, solver=self.solver, threads=self.threads, **self.options).matched]

    def squared_norms(self, maps: Maps) -> Float64Array:
        if self.invariance == "pooled":
            return np.asarray((maps.means**2).sum(axis=1))
        return maps.squared_norms

    def finish(
        self, measured: list[Float64Array], norms_x: Float64Array, norms_y: Float64Array, exponents: IndexVector
    ) -> dict[str, Float64Array]:
        """Apply the kernels; `exponents` (N, M) are those of the units of the inner products."""
        if self.invariance == "maxsim":
            found = dict(zip(self.kernels, measured, strict=True))
            if "rbf" in found:
                found["rbf"] = rbf(found["rbf"], self._sigma(found["rbf"]))
            if "linear" in found:
                found["linear"] = in_units_of_input(found["linear"], exponents)
            return {kernel: checked_scores(scores, kernel) for kernel, scores in found.items()}
        (products,) = measured
        norms = norms_x[:, None], norms_y[None, :]
        found = {}
        for kernel in self.kernels:
            inner = in_units_of_input(products, exponents) if kernel == "linear" else products
            sigma = self._sigma(np.maximum(norms[0] + norms[1] - 2 * products, 0.0)) if kernel == "rbf" else None
            found[kernel] = kernel_score(kernel, inner, *norms, sigma=sigma)
        return found

    def _sigma(self, squared_distances: Float64Array) -> float:
        return median_bandwidth(squared_distances) if self.sigma is None else self.sigma


class _Pass:
    """One tiled pass over all pairs."""

    def __init__(
        self,
        first: RepresentationSet,
        second: RepresentationSet,
        center: NDArray[Any] | None,
        comparison: _Comparison,
        progress: Progress | None,
    ) -> None:
        self.first, self.second, self.center, self.comparison = first, second, center, comparison
        self.mirrored = first is second and comparison.symmetric
        self.progress = progress
        self.total = len(first) * (len(first) + 1) // 2 if self.mirrored else len(first) * len(second)
        self.done = 0
        require_memory(8 * len(first) * len(second) * (len(comparison.measures) + 1), "the matrix of similarities")
        self.measured = [np.zeros((len(first), len(second))) for _ in comparison.measures]
        self.norms = np.zeros(len(first)), np.zeros(len(second))
        self.exponents = np.zeros(len(first), dtype=np.intp), np.zeros(len(second), dtype=np.intp)

    def run(self) -> dict[str, Float64Array]:
        for rows, columns in self._tile_pairs():
            self._compare_tiles(rows, columns)
        if self.mirrored:
            for matrix in self.measured:
                lower = np.tril_indices(len(matrix), -1)
                matrix[lower] = matrix.T[lower]
        return self.comparison.finish(self.measured, *self.norms, np.add.outer(*self.exponents))

    def _tile_pairs(self) -> Iterator[tuple[slice, slice]]:
        for rows in self.first.tiles():
            for columns in self.second.tiles():
                if not self.mirrored or columns.start >= rows.start:
                    yield rows, columns

    def _compare_tiles(self, rows: slice, columns: slice) -> None:
        ones = prepare(self.first.read(rows), self.center, self.first.name)
        same = self.first is self.second and rows == columns
        manys = ones if same else prepare(self.second.read(columns), self.center, self.second.name)
        check_comparable(ones, manys, self.comparison.invariance)
        for kernel in self.comparison.kernels:
            check_kernel(kernel, ones, manys)
        self.norms[0][rows] = self.comparison.squared_norms(ones)
        self.norms[1][columns] = self.comparison.squared_norms(manys)
        self.exponents[0][rows], self.exponents[1][columns] = ones.exponents, manys.exponents
        for offset in range(len(ones)):
            skip = offset if same and self.mirrored else 0
            values = self.comparison.measure(ones[offset : offset + 1], manys[skip:])
            for matrix, row in zip(self.measured, values, strict=True):
                matrix[rows.start + offset, columns.start + skip : columns.stop] = row
            self.done += len(manys) - skip
            if self.progress is not None:
                self.progress(self.done, self.total)


class _DevicePass(_Pass):
    """The same pass with all pairs of two tiles matched at once on a device."""

    def __init__(self, device: Any, first: RepresentationSet, second: RepresentationSet, *rest: Any) -> None:
        from semret.retrieval.similarity.device_tiles import DeviceTiles

        super().__init__(first, second, *rest)
        self.rows = DeviceTiles(first, self.center, device)
        self.columns = self.rows if first is second else DeviceTiles(second, self.center, device)

    def _compare_tiles(self, rows: slice, columns: slice) -> None:
        from semret.retrieval.similarity.device_tiles import match_tiles

        ones, manys = self.rows[rows], self.columns[columns]
        check_shapes(tuple(ones.maps.tokens.shape[1:]), tuple(manys.maps.tokens.shape[1:]), "permutation")
        for kernel in self.comparison.kernels:
            check_kernel(kernel, ones, manys)
        self.norms[0][rows], self.norms[1][columns] = ones.squared_norms, manys.squared_norms
        self.exponents[0][rows], self.exponents[1][columns] = ones.exponents, manys.exponents
        mirrored = self.mirrored and rows == columns
        self.measured[0][rows, columns] = match_tiles(ones, manys, mirrored=mirrored)[0]
        self.done += len(ones) * (len(ones) + 1) // 2 if mirrored else len(ones) * len(manys)
        if self.progress is not None:
            self.progress(self.done, self.total)
