"""Image retrieval with permutation-invariant reranking.

The names below are the public interface. They load on first use, so that ``import semret`` loads neither torch nor
faiss. ``semret.open`` is `open_index` by a shorter name, which ``from semret import *`` leaves to Python's own `open`.
"""

from __future__ import annotations

import sys

# While Python looks for what ``-m`` names, the current folder comes first: logging.py among somebody's pictures would
# be taken for Python's own.
_current = sys.path.pop(0) if sys.argv[:1] == ["-m"] and not sys.flags.safe_path else None
import importlib  # noqa: E402
import logging  # noqa: E402
from typing import TYPE_CHECKING, Any  # noqa: E402

if _current is not None:
    sys.path.insert(0, _current)

from semret._version import __version__  # noqa: E402

if TYPE_CHECKING:
    from semret.errors import SemretError as SemretError
    from semret.index.embed import Embeddings as Embeddings
    from semret.index.embed import embed as embed
    from semret.index.sync.build import build as build
    from semret.retrieval.duplicates.find import duplicates as duplicates
    from semret.retrieval.duplicates.results import DuplicateGroup as DuplicateGroup
    from semret.retrieval.duplicates.results import Duplicates as Duplicates
    from semret.retrieval.matching import match_batch as match_batch
    from semret.retrieval.search.engine import SearchEngine as SearchEngine
    from semret.retrieval.search.engine import open_index as open_index
    from semret.retrieval.search.explain import Explanation as Explanation
    from semret.retrieval.search.results import Hit as Hit
    from semret.retrieval.search.results import SearchResult as SearchResult
    from semret.retrieval.similarity.cka import cka as cka
    from semret.retrieval.similarity.pairs import matched_similarity as matched_similarity
    from semret.retrieval.similarity.rsm import rsm as rsm

    open = open_index

_EXPORTS = {
    "DuplicateGroup": ("semret.retrieval.duplicates.results", "DuplicateGroup"),
    "Duplicates": ("semret.retrieval.duplicates.results", "Duplicates"),
    "Embeddings": ("semret.index.embed", "Embeddings"),
    "Explanation": ("semret.retrieval.search.explain", "Explanation"),
    "Hit": ("semret.retrieval.search.results", "Hit"),
    "SearchEngine": ("semret.retrieval.search.engine", "SearchEngine"),
    "SearchResult": ("semret.retrieval.search.results", "SearchResult"),
    "SemretError": ("semret.errors", "SemretError"),
    "build": ("semret.index.sync.build", "build"),
    "cka": ("semret.retrieval.similarity.cka", "cka"),
    "duplicates": ("semret.retrieval.duplicates.find", "duplicates"),
    "embed": ("semret.index.embed", "embed"),
    "match_batch": ("semret.retrieval.matching", "match_batch"),
    "matched_similarity": ("semret.retrieval.similarity.pairs", "matched_similarity"),
    "open": ("semret.retrieval.search.engine", "open_index"),
    "open_index": ("semret.retrieval.search.engine", "open_index"),
    "rsm": ("semret.retrieval.similarity.rsm", "rsm"),
}

# Written out, for type checkers read it and run nothing.
__all__ = [
    "DuplicateGroup",
    "Duplicates",
    "Embeddings",
    "Explanation",
    "Hit",
    "SearchEngine",
    "SearchResult",
    "SemretError",
    "__version__",
    "build",
    "cka",
    "duplicates",
    "embed",
    "match_batch",
    "matched_similarity",
    "open_index",
    "rsm",
]

logging.getLogger(__name__).addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    try:
        module, attribute = _EXPORTS[name]
    except KeyError:
        raise AttributeError(f"module 'semret' has no attribute {name!r}") from None
    value = getattr(importlib.import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_EXPORTS})
