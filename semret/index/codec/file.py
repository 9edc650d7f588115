"""The file of a codec: written once by HDF5, read by offsets after its digest was checked, never by HDF5."""

from __future__ import annotations

import hashlib
import io
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semret.errors import IndexCorruptError
from semret.index.codec.codec import Codec, Fitted
from semret.index.codec.entry import ALIGNMENT, CodecEntry, columns
from semret.index.codec.projection import GRID, Projection
from semret.index.codec.rounding import Centroids

CODEC_NAME = "codec.h5"
_ADVICE = "put back the right file, or index the pictures again into another directory"


def pack(codec: Codec) -> tuple[bytes, CodecEntry]:
    """Return a codec as the bytes of its file, and what a manifest is to say of it.

    Parameters
    ----------
    codec : Codec

    Returns
    -------
    (bytes, CodecEntry)
        The same bytes for the same codec.

    Raises
    ------
    ValueError
        If the file would be longer than `CODEC_BYTES`.
    """
    # Only a writer waits for HDF5.
    import h5py

    buffer, offsets = io.BytesIO(), {}
    layout = columns(codec.spec, codec.channels, codec.dimension, codec.pooled_in, codec.pooled.dimension)
    held = _arrays(codec)
    with h5py.File(
        buffer, "w", libver=("earliest", "v108"), alignment_threshold=1, alignment_interval=ALIGNMENT
    ) as file:
        for name, (dtype, shape) in layout.items():
            dataset = file.create_dataset(name, shape, dtype, data=held[name].astype(dtype), track_times=False)
            offsets[name] = int(dataset.id.get_offset())
    raw = buffer.getvalue()
    return raw, CodecEntry(
        name=codec.name,
        digest=hashlib.sha256(raw).hexdigest(),
        bytes=len(raw),
        channels=codec.channels,
        dimension=codec.dimension,
        pooled_in=codec.pooled_in,
        pooled_out=codec.pooled_out,
        offsets=offsets,
    )


def _arrays(codec: Codec) -> dict[str, NDArray[Any]]:
    fitted, centroids = codec.fitted, codec.centroids
    scale = 0.0 if centroids is None else centroids.scale
    held: dict[str, NDArray[Any]] = {
        "mean": codec.tokens.mean,
        "directions": codec.tokens.directions,
        "pooled_mean": codec.pooled.mean,
        "pooled_directions": codec.pooled.directions,
        "numbers": np.array([scale, codec.pooled_exponent, fitted.images, fitted.kept, fitted.total]),
    }
    return held if centroids is None else {**held, "centroids": centroids.integers}


def unpack(raw: bytes, entry: CodecEntry, name: object = CODEC_NAME) -> Codec:
    """Return the codec that a file holds.

    Parameters
    ----------
    raw : bytes
        The file; of at most `CODEC_BYTES`.
    entry : CodecEntry
        What the manifest says of it.
    name : object
        Names the file in messages.

    Returns
    -------
    Codec

    Raises
    ------
    IndexCorruptError
        If it is not the file that the manifest means, or does not hold a codec.
    """
    if len(raw) != entry.bytes or hashlib.sha256(raw).hexdigest() != entry.digest:
        raise _damaged(name, f"its digest is not the manifest's, {entry.digest[:12]}...")
    held = {}
    for key, (dtype, shape) in entry.columns().items():
        stored = np.frombuffer(raw, dtype=dtype, count=math.prod(shape), offset=entry.offsets[key])
        held[key] = stored.reshape(shape).astype(np.dtype(dtype).newbyteorder("="))
    problem = _problem(held)
    if problem:
        raise _damaged(name, problem)
    scale, exponent, images, kept, total = (float(number) for number in held["numbers"])
    none = np.empty((0, entry.pooled_in), dtype=np.float16)
    return Codec(
        spec=entry.spec,
        tokens=Projection(mean=held["mean"], directions=held["directions"]),
        pooled=Projection(mean=held["pooled_mean"], directions=held.get("pooled_directions", none)),
        pooled_exponent=int(exponent),
        centroids=Centroids(integers=held["centroids"], scale=scale) if "centroids" in held else None,
        fitted=Fitted(images=int(images), kept=kept, total=total),
    )


def _problem(held: dict[str, NDArray[Any]]) -> str:
    """Say what no codec of ours holds; nothing if all is well."""
    if not all(np.isfinite(values).all() for values in held.values()):
        return "it holds numbers that are not finite"
    for name in ("directions", "pooled_directions"):
        wide = held.get(name, np.zeros(0)).astype(np.float64)
        if np.abs(wide).max(initial=0) > 1 or (np.ldexp(wide, GRID) % 1).any():
            return "its directions are no unit vectors"
    scale, exponent, images, kept, total = held["numbers"]
    if not 0 <= scale <= np.finfo(np.float32).max or np.float64(np.float32(scale)) != scale:
        return "the scale of its centroids is no float32"
    if abs(exponent) > 4096 or exponent % 1 or images < 1 or images % 1 or images > 2**53 or min(kept, total) < 0:
        return "its numbers are out of range"
    if "centroids" in held and held["centroids"].min() < -127:
        return "its centroids are out of range"
    return ""


def _damaged(name: object, what: str) -> IndexCorruptError:
    return IndexCorruptError(f"{name} is damaged: {what}; {_ADVICE}")
