"""What an index holds, in numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from semret.index.collection import Collection
from semret.index.store.layout import directory_bytes


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A description of one generation of an index.

    Attributes
    ----------
    index, model, root : str
        Index directory, backbone, and the folder that stored paths are relative to.
    checkpoint, weights_sha256 : str
        What the backbone's weights are.
    images, contents : int
        Paths in the index, and different contents among them.
    skipped : int
        Files that could not be indexed, as of the last run over their folder.
    segments, rows, dead_rows : int
        Segment files, images stored in them, and those of them that are not wanted any more.
    generation, format_version : int
    grid, input_size : (int, int)
        Rows and columns of tokens; height and width of the network's input.
    tokens, channels, pooled_dim : int
        S, C and D.
    dtype, created, semret : str
        Of the stored tokens; when, and by which version, the index was made.
    bytes, bytes_per_image : int, float
    """

    index: str
    model: str
    checkpoint: str
    weights_sha256: str
    root: str
    images: int
    contents: int
    skipped: int
    segments: int
    rows: int
    dead_rows: int
    generation: int
    format_version: int
    grid: tuple[int, int]
    input_size: tuple[int, int]
    tokens: int
    channels: int
    pooled_dim: int
    dtype: str
    created: str
    semret: str
    bytes: int
    bytes_per_image: float

    def as_json(self) -> dict[str, Any]:
        """Return the fields by name, as plain lists, strings and numbers.

        Returns
        -------
        dict
        """
        return {**asdict(self), "grid": list(self.grid), "input_size": list(self.input_size)}


def summarise(collection: Collection) -> Summary:
    """Describe an open index.

    Parameters
    ----------
    collection : Collection
        The index that is open.

    Returns
    -------
    Summary

    Raises
    ------
    OSError
        If a file of the index is taken away meanwhile.
    """
    manifest, identity = collection.manifest, collection.manifest.identity
    everyone = np.arange(len(collection))
    contents = int(np.count_nonzero(collection.firsts(everyone) == everyone))
    rows = collection.segments.row_count
    size = directory_bytes(collection.path)
    return Summary(
        index=str(collection.path),
        model=identity.backbone,
        checkpoint=identity.checkpoint,
        weights_sha256=identity.weights_sha256,
        root=str(collection.root.folder),
        images=len(collection),
        contents=contents,
        skipped=collection.skipped_count,
        segments=len(collection.segments),
        rows=rows,
        dead_rows=rows - contents,
        generation=collection.generation,
        format_version=manifest.format_version,
        grid=identity.grid,
        input_size=identity.preprocessing.size,
        tokens=collection.shape[0],
        channels=collection.shape[1],
        pooled_dim=identity.pooled_dim,
        dtype=manifest.dtype,
        created=manifest.created,
        semret=manifest.semret,
        bytes=size,
        bytes_per_image=size / len(collection) if len(collection) else 0.0,
    )
