"""What the first search after an installation would do: write the default network's graph, compile the loops."""

from __future__ import annotations

import numpy as np

from semret.errors import StorageError
from semret.index.backbones.efficientnet_lite0 import prepare_graph
from semret.index.backbones.graph_cache import graph_folder
from semret.index.backbones.registry import DEFAULT_BACKBONE, spec_of
from semret.progress import Progress, waiting_for
from semret.retrieval.search.candidates import InMemoryTokens, Query
from semret.retrieval.search.options import RerankOptions
from semret.retrieval.search.query_scored import rerank_by_query
from semret.retrieval.search.rerank import rerank


def prepare(progress: Progress | None = None) -> None:
    """Write into the user's caches what the default network and matching need, so that the first search finds it.

    Parameters
    ----------
    progress : Progress, Display or None
        Told what is being done.

    Raises
    ------
    StorageError
        If the cache cannot be written.
    WeightsNotFoundError
        If the package that carries the weights is not installed.
    """
    with waiting_for(f"writing the graph of {DEFAULT_BACKBONE}", progress):
        kept = prepare_graph(spec_of(DEFAULT_BACKBONE))
    if not kept:
        raise StorageError(f"{graph_folder()} cannot be written; set XDG_CACHE_HOME to a folder of yours")
    with waiting_for("compiling the matching solvers", progress):
        # Enough candidates for every bound to be tried, and one that is solved.
        maps = np.random.default_rng(0).standard_normal((64, 16, 8)).astype(np.float16)
        rerank(Query(tokens=maps[0]), InMemoryTokens(maps), RerankOptions(k=3))
        rerank_by_query(Query(tokens=maps[0, :4]), InMemoryTokens(maps), RerankOptions(k=3))
