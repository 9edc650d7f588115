"""What an index holds, to be compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from semret.index.collection import open_collection


def contents_of(index: Path) -> dict[str, tuple]:
    """Return what an index shows, by path: id, hash of the file, and every feature, all of it read and checked."""

    with open_collection(index) as collection:
        ids = collection.ids
        return {
            path: (id_, sha, tokens.tobytes(), pooled.tobytes(), mean.tobytes(), norm)
            for (path, _, _), id_, sha, tokens, pooled, mean, norm in zip(
                collection.files(),
                ids.tolist(),
                collection.hashes(ids),
                collection.tokens(ids),
                np.asarray(collection.features.pooled),
                np.asarray(collection.features.means),
                collection.features.norms.tolist(),
                strict=True,
            )
        }
