"""What a sound segment is: its digest, and what each of its rows must satisfy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semret.errors import IndexCorruptError
from semret.index.codec.codec import Codec
from semret.index.store.excluded_file import EXCLUDED_NAME, read_excluded
from semret.index.store.layout import Segment, checked_rows, columns, compact_statistics, segment_path
from semret.index.store.manifest import Manifest
from semret.index.store.members import REPAIR, digest_of, require_folder
from semret.index.store.reading import SegmentReader

BY_INDEX = "run semret index"

_BLOCK_BYTES = 2**24
_TOLERANCE = 1e-3
_SUMS = {"position_sum": "tokens", "channel_sum": "means", "pooled_sum": "pooled"}


@dataclass(frozen=True)
class Defect:
    """One thing that is wrong with an index.

    Attributes
    ----------
    kind : {"manifest", "excluded", "codec", "catalog", "segment", "shortlist", "directory", "lists", "file"}
        What it concerns; ``file`` is a picture that is not as the catalog has it.
    object : str
        Path of the file.
    detail : str
        What was found, and what was expected.
    remedy : str
        What to do.
    """

    kind: str
    object: str
    detail: str
    remedy: str


def finding(error: Exception) -> str:
    """Return what an error about a file of an index found, without its advice: a defect has a remedy of its own.

    Parameters
    ----------
    error : Exception
        Its message is ``FINDING; ADVICE``.

    Returns
    -------
    str
    """
    return str(error).split(";")[0]


def check_excluded(index: Path) -> list[Defect]:
    """Check the patterns of what is left out of an index.

    Parameters
    ----------
    index : Path
        Index directory.

    Returns
    -------
    list of Defect
        Empty where they can be read, or there are none.
    """
    try:
        read_excluded(index)
    except IndexCorruptError as error:
        remedy = "run semret verify --repair, then give the patterns again with semret index --exclude"
        return [Defect("excluded", str(index / EXCLUDED_NAME), finding(error), remedy)]
    return []


def check_segment(
    index: Path, segment: Segment, manifest: Manifest, codec: Codec | None, contents: dict[int, bytes]
) -> list[Defect]:
    """Check one segment: its digest, and all that its rows must satisfy.

    Parameters
    ----------
    index : Path
        Index directory.
    segment : Segment
        As the catalog has it.
    manifest : Manifest
    codec : Codec or None
        As for `examine_rows`.
    contents : dict of int to bytes
        For each row in use the SHA-256 of the picture that it must belong to.

    Returns
    -------
    list of Defect
        One at most; none for a sound segment.
    """
    path = segment_path(index, segment.number)
    found = []
    try:
        # A file of another length is not read: it may be so long that reading takes hours.
        size = path.lstat().st_size
        if S_ISREG(path.lstat().st_mode) and size != segment.bytes:
            found.append(f"it has {size} bytes instead of {segment.bytes}")
        elif digest_segment(path, most=segment.bytes)[0] != segment.sha256:
            found.append("it does not have its SHA-256")
    except OSError as error:
        return [Defect("segment", str(path), f"it cannot be read: {error.strerror or error}", REPAIR)]
    except IndexCorruptError as error:
        return [Defect("segment", str(path), finding(error).removeprefix(f"{path} "), REPAIR)]
    try:
        reader = SegmentReader(index, segment, manifest)
        examined = examine_rows(reader, manifest, codec)
        unsound = np.flatnonzero(~examined.sound)
        if unsound.size:
            found.append(f"{unsound.size} of {segment.rows} rows are damaged, the first is {int(unsound[0])}")
        if not examined.sums_agree:
            found.append("its sums are not those of its rows")
        hashes = reader.whole("sha256")
        strangers = [
            row for row, sha in contents.items() if not (0 <= row < len(hashes) and hashes[row].tobytes() == sha)
        ]
        found += [f"row {row} is of another picture" for row in strangers]
    except IndexCorruptError as error:
        found = found or [finding(error)]
    return [Defect("segment", str(path), "; ".join(found), REPAIR)] if found else []


@dataclass(frozen=True)
class Examined:
    """What the rows of a segment are like.

    Attributes
    ----------
    sound : ndarray of shape (n,), bool
        Which rows have their checksums, finite values, and the norm and mean that they must have.
    sums_agree : bool
        Whether the segment's sums are those of its rows; True where a row is not sound.
    """

    sound: NDArray[np.bool_]
    sums_agree: bool


def examine_rows(reader: SegmentReader, manifest: Manifest, codec: Codec | None) -> Examined:
    """Read every row of a segment and compare it with what is stored about it.

    Parameters
    ----------
    reader : SegmentReader
    manifest : Manifest
    codec : Codec or None
        The manifest's. Where it has one that cannot be had, rows are compared with their checksums alone.

    Returns
    -------
    Examined

    Raises
    ------
    IndexCorruptError
        If the file does not have its size, or one of the small datasets its checksum.
    """
    rows = reader.segment.rows
    reader.whole("checksums")
    norms = reader.whole("norms")
    sound = np.zeros(rows, dtype=bool)
    layout = columns(manifest, 1)
    totals = {name: np.zeros(layout[name].shape) for name in _SUMS if name in layout}
    step = max(1, _BLOCK_BYTES // manifest.token_bytes)
    for start in range(0, rows, step):
        block = np.arange(start, min(start + step, rows))
        found = _read_rows(reader, manifest, block)
        if found is None:
            sound[block] = [_is_row_sound(reader, manifest, codec, row, norms) for row in block.tolist()]
            continue
        sound[block] = _are_consistent(found, norms[block], manifest, codec)
        for name, total in totals.items():
            total += found[_SUMS[name]].sum(axis=0, dtype=np.float64)
    return Examined(sound, not sound.all() or all(_agrees(reader.whole(name), total) for name, total in totals.items()))


def _is_row_sound(
    reader: SegmentReader, manifest: Manifest, codec: Codec | None, row: int, norms: NDArray[np.floating[Any]]
) -> bool:
    found = _read_rows(reader, manifest, np.array([row]))
    return found is not None and bool(_are_consistent(found, norms[row : row + 1], manifest, codec)[0])


def _agrees(stored: NDArray[np.floating[Any]], total: NDArray[np.float64]) -> bool:
    """Tell whether two sums are equal but for rounding."""
    scale = float(np.abs(total).max())
    return bool((np.abs(stored - total) <= _TOLERANCE * scale).all())


def _read_rows(reader: SegmentReader, manifest: Manifest, rows: NDArray[np.intp]) -> dict[str, NDArray[Any]] | None:
    """Return the rows of every dataset that has rows with checksums; None if one does not have its own."""
    layout = columns(manifest, len(rows))
    found = {name: np.empty(layout[name].shape, dtype=layout[name].dtype) for name in checked_rows(layout)}
    try:
        for name, out in found.items():
            reader.read(name, rows, out)
    except IndexCorruptError:
        return None
    return found


def _are_consistent(
    found: dict[str, NDArray[Any]], norms: NDArray[np.floating[Any]], manifest: Manifest, codec: Codec | None
) -> NDArray[np.bool_]:
    """Tell which rows are finite and have the norm and the mean of their tokens, but for rounding."""
    if manifest.codec_file is not None:
        return _are_encoded(found, norms, codec)
    with np.errstate(over="ignore", invalid="ignore"):
        tokens = found["tokens"].astype(np.float64)
        expected = np.sqrt(np.einsum("nsc,nsc->n", tokens, tokens))
        scale = np.abs(tokens).max(axis=(1, 2))[:, None]
        # A comparison with NaN is false, and an infinite sum is not finite.
        near = np.abs(found["means"] - tokens.mean(axis=1)) <= _TOLERANCE * scale
        sound = np.isfinite(expected) & np.isfinite(found["pooled"].sum(axis=1, dtype=np.float64))
        sound &= near.all(axis=1) & (np.abs(expected - norms) <= _TOLERANCE * expected)
    return np.asarray(sound, dtype=bool)


def _are_encoded(
    found: dict[str, NDArray[Any]], norms: NDArray[np.floating[Any]], codec: Codec | None
) -> NDArray[np.bool_]:
    """Tell which rows of a codec are finite and have just the norm and the mean that follow from their tokens."""
    sound = np.isfinite(found["pooled"].sum(axis=1, dtype=np.float64))
    if "scales" in found:
        sound &= np.isfinite(found["scales"]).all(axis=1) & (found["scales"] >= 0).all(axis=1)
    if codec is None:
        return np.asarray(sound, dtype=bool)
    for row in np.flatnonzero(sound):
        one = slice(row, row + 1)
        tokens = codec.decode(found["tokens"][one], found["scales"][one] if "scales" in found else None)
        expected = compact_statistics(tokens)
        sound[row] = expected["norms"] == norms[row] and np.array_equal(expected["means"], found["means"][one])
    return np.asarray(sound, dtype=bool)


def digest_segment(path: Path, *, most: int) -> tuple[str, int]:
    """Return the SHA-256 (hexadecimal) and the size of a segment's file.

    Parameters
    ----------
    path : Path
        The file.
    most : int
        Bytes beyond which it is refused.

    Returns
    -------
    (str, int)

    Raises
    ------
    IndexCorruptError
        If it or its folder lies elsewhere, if it is no regular file, or has more than `most` bytes.
    OSError
        If it is missing or cannot be read.
    """
    require_folder(path.parent)
    return digest_of(path, most=most)
