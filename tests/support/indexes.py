"""What an index holds, to be compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from semret.index.collection import open_collection
from semret.integer_tokens import IntegerTokens


def token_bytes(tokens: np.ndarray | IntegerTokens) -> list[bytes]:
    """Return the tokens of each image, as bytes."""
    if isinstance(tokens, IntegerTokens):
        pairs = zip(tokens.integers, tokens.scales, strict=True)
        return [integers.tobytes() + scales.tobytes() for integers, scales in pairs]
    return [one.tobytes() for one in tokens]


def contents_of(index: Path) -> dict[str, tuple]:
    """Return what an index shows, by path: id, hash of the file, and every feature, all of it read and checked."""

    with open_collection(index) as collection:
        ids = collection.ids
        return {
            path: (id_, sha, tokens, pooled.tobytes(), mean.tobytes(), norm)
            for (path, _, _), id_, sha, tokens, pooled, mean, norm in zip(
                collection.files(),
                ids.tolist(),
                collection.hashes(ids),
                token_bytes(collection.tokens(ids)),
                np.asarray(collection.features.pooled),
                np.asarray(collection.features.means),
                collection.features.norms.tolist(),
                strict=True,
            )
        }
