"""Array types and the checks at the package's boundary.

Shapes are written with one alphabet: ``N`` images, ``S = H * W`` spatial positions, ``C`` channels, ``D`` length of a
pooled embedding, ``Q`` queries, ``K`` length of a shortlist, ``k`` results kept. Aliases carry the dtype, docstrings
the shape.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from semret.errors import ArgumentError, NonFiniteError, ShapeError, cut_text

FloatArray: TypeAlias = NDArray[np.floating[Any]]
Float32Array: TypeAlias = NDArray[np.float32]
Float64Array: TypeAlias = NDArray[np.float64]
IndexVector: TypeAlias = NDArray[np.intp]
IdVector: TypeAlias = NDArray[np.int64]


def require_ndim(array: NDArray[Any], ndim: int, name: str, meaning: str) -> None:
    """Refuse an array with another number of axes.

    Parameters
    ----------
    array : ndarray
    ndim : int
    name : str
        Names the array in the message.
    meaning : str
        The expected shape in words: ``(S, C)``.

    Raises
    ------
    ShapeError
        If `array` has not `ndim` axes.
    """
    if array.ndim != ndim:
        raise ShapeError(f"{name} has shape {array.shape}, expected {ndim} axes {meaning}")


def require_whole(value: object, name: str, least: int = 1) -> None:
    """Refuse what is no whole number, or too small.

    Parameters
    ----------
    value : object
        Numbers of NumPy count as well; True and False do not.
    name : str
        Names it in the message.
    least : int

    Raises
    ------
    ArgumentError
    """
    is_whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not is_whole:
        raise ArgumentError(f"{name} is {cut_text(repr(value))}, expected a whole number")
    if int(value) < least:  # type: ignore[call-overload]
        raise ArgumentError(f"{name} is {value}, expected at least {least}")


def require_number(
    value: object, name: str, expected: str = "a finite number", within: Callable[[float], bool] = math.isfinite
) -> float:
    """Refuse what is no number, none that is finite, or out of range.

    Parameters
    ----------
    value : object
        Numbers of NumPy count as well; True and False do not, and no text.
    name : str
        Names it in the message.
    expected : str
        Which numbers are expected, for the message.
    within : callable
        Tells of a finite number whether it is one of them.

    Returns
    -------
    float

    Raises
    ------
    ArgumentError
    """
    is_number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    try:
        number = float(value) if is_number else math.nan  # type: ignore[arg-type]
    except OverflowError:
        number = math.inf  # a whole number beyond every float
    if not (math.isfinite(number) and within(number)):
        raise ArgumentError(f"{name} is {cut_text(repr(value))}, expected {expected}")
    return number


def require_flag(value: object, name: str) -> None:
    """Refuse what is neither True nor False: any text is true for Python, ``"no"`` and ``"False"`` too.

    Parameters
    ----------
    value : object
        Booleans of NumPy count as well.
    name : str
        Names it in the message.

    Raises
    ------
    ArgumentError
    """
    if not isinstance(value, (bool, np.bool_)):
        raise ArgumentError(f"{name} is {cut_text(repr(value))}, expected True or False")


def require_text(value: object, name: str, meaning: str = "a name") -> None:
    """Refuse what is no text.

    Parameters
    ----------
    value : object
    name, meaning : str
        For the message: what it is called, and what it says.

    Raises
    ------
    ArgumentError
    """
    if not isinstance(value, str):
        raise ArgumentError(f"{name} is {cut_text(repr(value))}, expected {meaning}")


def require_size(size: object, name: str = "size") -> None:
    """Refuse what is no height and width.

    Parameters
    ----------
    size : object
    name : str
        Names it in the message.

    Raises
    ------
    ArgumentError
    """
    if isinstance(size, (str, bytes)) or not isinstance(size, Sequence) or len(size) != 2:
        raise ArgumentError(f"{name} is {cut_text(repr(size))}, expected (height, width) in pixels")
    for side in size:
        require_whole(side, f"a side of {name}")


def require_finite(array: NDArray[Any], name: str) -> None:
    """Refuse an array that holds NaN or infinity.

    Parameters
    ----------
    array : ndarray
        Of any shape; an empty one is finite.
    name : str
        Names the array in the message.

    Raises
    ------
    NonFiniteError
        If a value is NaN or infinite; the message tells how many are.
    """
    # A sum is finite only if every term is: one pass and no temporary in the common case.
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(np.add.reduce(array, axis=None, dtype=np.float64)):
            return
    nan, infinite = int(np.isnan(array).sum()), int(np.isinf(array).sum())
    if nan or infinite:
        raise NonFiniteError(
            f"{name} holds {nan} NaN and {infinite} infinite values out of {array.size}; all must be finite"
        )


def require_memory(nbytes: int, what: str) -> None:
    """Refuse an array that this machine cannot hold, before it is allocated.

    Parameters
    ----------
    nbytes : int
        Any size; sizes that files declare may lie beyond what an array can have.
    what : str
        Names the array in the message.

    Raises
    ------
    ArgumentError
        If it takes more than this machine has.
    """
    held = _memory()
    if nbytes > held:
        raise ArgumentError(
            f"{what} takes {nbytes / 2**30:.0f} GiB of memory, and this machine has {held / 2**30:.0f}; cut it in parts"
        )


def _memory() -> float:
    """Return the bytes of memory of this machine, infinity where the system does not tell."""
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):
        return math.inf


def as_array(values: Any, name: str) -> NDArray[Any]:
    """Return numbers of any library as an array of one of the dtypes of NumPy itself.

    Tensors of torch are detached and brought to the processor; bfloat16 and floats of 8 bits, which NumPy itself has
    not, become float32, which holds all of their values. Lists and tuples may hold tensors. What is an array already
    is not copied.

    Parameters
    ----------
    values : array_like, tensor or IntegerTokens
    name : str
        Names the array in messages.

    Returns
    -------
    ndarray
        In the byte order of this processor.

    Raises
    ------
    ArgumentError
        If entries are masked: neither a mask nor what lies under it can be compared.
    ShapeError
        If the rows of a list differ in length, or the values are not numbers but pictures, paths, or a set of maps.
    """
    if _is_foreign(values):
        return _converted(values, name)
    if (as_floats := getattr(values, "as_floats", None)) is not None:
        values = as_floats()
    _refuse_pictures(values, name)
    plain = _plain(values, name)
    try:
        array = np.asarray(plain)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ShapeError(f"{name} is no array of numbers, expected rows of one length: {cut_text(error)}") from error
    if array.dtype.name.startswith(_NARROW):
        return array.astype(np.float32)
    if array.ndim == 0 and array.dtype == object:
        # A generator, a dictionary, None: NumPy makes an array of one object of it, whose shape says nothing.
        raise ShapeError(f"{name} is of type {type(values).__name__}, expected an array of numbers, or a list of such")
    # As this processor holds numbers: dtypes of the other byte order compare as unequal to float32 and float64.
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


_NARROW = ("bfloat16", "float8_", "float6_", "float4_")
"""Floats that NumPy knows by other libraries only."""


def _refuse_pictures(values: Any, name: str) -> None:
    """Refuse what people take for token maps: pictures, their paths, and whatever holds maps; name the way to maps."""
    if hasattr(values, "representations"):
        raise ShapeError(
            f"{name} is a set of maps ({type(values).__name__}), expected an array of numbers: "
            "semret.rsm compares sets, its tokens are such arrays"
        )
    first = values[0] if isinstance(values, (list, tuple)) and values else values
    pillow = sys.modules.get("PIL.Image")
    if isinstance(first, (str, bytes, os.PathLike)) or (pillow is not None and isinstance(first, pillow.Image)):
        what = "a picture" if not isinstance(first, (str, os.PathLike)) else cut_text(repr(os.fspath(first)), 60)
        raise ShapeError(
            f"{name} is {what}, expected an array of a numeric dtype: semret.embed(pictures).tokens are the token "
            "maps of pictures, engine.tokens(paths) those in an index"
        )


def _is_foreign(values: Any) -> bool:
    """Tell whether NumPy would misread the values: it drops masks, and refuses some tensors."""
    torch = sys.modules.get("torch")
    return _is_masked(values) or (torch is not None and isinstance(values, torch.Tensor))


def _is_masked(values: Any) -> bool:
    # Where NumPy's masked arrays were never imported there is none, and importing them takes a while.
    masked = sys.modules.get("numpy.ma")
    return masked is not None and isinstance(values, masked.MaskedArray)


def _plain(values: Any, name: str) -> Any:
    """Return nested lists with arrays in place of tensors and masked arrays."""
    if isinstance(values, (list, tuple)):
        return [_plain(value, name) for value in values]
    return _converted(values, name) if _is_foreign(values) else values


def _converted(values: Any, name: str) -> NDArray[Any]:
    if _is_masked(values):
        masked = int(np.ma.getmaskarray(values).sum())
        if masked:
            raise ArgumentError(
                f"{name} has {masked} masked values out of {values.size}; fill them, or leave out what holds them"
            )
        return np.asarray(values.data)
    try:
        tensor = values.detach().cpu()
        narrow = str(tensor.dtype).removeprefix("torch.").startswith(_NARROW)
        tensor = tensor.float() if narrow else tensor.resolve_conj().resolve_neg()
        return np.asarray(tensor.numpy())
    except (RuntimeError, TypeError, ValueError) as error:
        raise ShapeError(
            f"{name} is a tensor of {values.dtype} and layout {values.layout}, expected a dense one of numbers"
        ) from error


def as_tokens(tokens: ArrayLike, name: str = "tokens") -> FloatArray:
    """Return `tokens` as a float array of shape (S, C), S and C at least 1, all finite.

    Parameters
    ----------
    tokens : array_like or tensor
        float16, float32 and float64 keep their dtype; integers, booleans and bfloat16 become float32. Tensors may carry
        a gradient and lie on another device.
    name : str
        Names the array in messages.

    Returns
    -------
    ndarray of shape (S, C)

    Raises
    ------
    ShapeError
        If `tokens` is not two-dimensional or has an empty axis.
    ArgumentError
        If entries are masked.
    NonFiniteError
        If a value is NaN or infinite.
    """
    array = as_array(tokens, name)
    if array.ndim > 2:
        raise ShapeError(
            f"{name} has shape {array.shape}, expected one map (S, C): maps[0] is one of several (N, S, C), "
            "grid.reshape(-1, C) the map of a grid (H, W, C)"
        )
    require_ndim(array, 2, name, "(S, C)")
    if 0 in array.shape:
        raise ShapeError(f"{name} is empty: shape {array.shape}, expected at least one position and one channel")
    if array.dtype not in (np.float16, np.float32, np.float64):
        if array.dtype.kind not in "iub":
            raise ShapeError(f"{name} has dtype {array.dtype}, expected float16, float32 or float64")
        array = array.astype(np.float32)
    require_finite(array, name)
    return array
