"""Writes and reads Lance data sets in a process of its own: Lance keeps threads, and warns of forks ever after.

``python -m tests.support.lance_driver JOB``, JOB as JSON with one of

* ``write``: a data set; further ``index``, ``options`` of `SearchEngine.write_tokens`, ``rows`` that are read at once,
  ``kill_after``, the number of parts after which the process kills itself, and ``largest``, bytes of a file at most.
  Prints the error, if there is one.
* ``read``: a data set; ``to``, a Parquet file that its rows are written to. Prints its version and its metadata.
* ``search``: a folder of LanceDB's; ``table``, ``vectors`` (a ``.npy``), ``limit``. Prints [[id, score], ...] of each.
* ``qdrant``: a Parquet file; ``vectors``, ``limit``. Prints the same.
"""

from __future__ import annotations

import itertools
import json
import os
import resource
import signal
import sys
from typing import Any


def write(job: dict[str, Any]) -> object:
    import semret
    from semret.retrieval.search import stored_rows

    stored_rows.MOST_ROWS = job.get("rows", stored_rows.MOST_ROWS)
    whole = stored_rows.StoredRows.parts

    def cut(rows: Any) -> Any:
        yield from itertools.islice(whole(rows), job["kill_after"])
        os.kill(os.getpid(), signal.SIGKILL)

    if "kill_after" in job:
        stored_rows.StoredRows.parts = cut
    with semret.open_index(job["index"]) as engine:
        if "largest" in job:
            resource.setrlimit(resource.RLIMIT_FSIZE, (job["largest"], job["largest"]))
        try:
            engine.write_tokens(job["write"], **job.get("options", {}))
        except semret.SemretError as error:
            return [type(error).__name__, str(error)]
    return None


def read(job: dict[str, Any]) -> object:
    import lance
    from pyarrow import parquet

    found = lance.dataset(job["read"])
    parquet.write_table(found.to_table(), job["to"])
    metadata = {key.decode(): value.decode() for key, value in (found.schema.metadata or {}).items()}
    return {"version": found.version, "metadata": metadata}


def search(job: dict[str, Any]) -> object:
    import lancedb
    import numpy as np

    table = lancedb.connect(job["search"]).open_table(job["table"])
    answers = []
    for vector in np.load(job["vectors"]):
        asked = table.search(vector, vector_column_name="pooled").distance_type("dot")
        rows = asked.limit(job["limit"]).select(["id", "_distance"]).to_list()
        answers.append([[row["id"], 1 - row["_distance"]] for row in rows])
    return answers


def qdrant(job: dict[str, Any]) -> object:
    import numpy as np
    from pyarrow import parquet
    from qdrant_client import QdrantClient, models

    rows = parquet.read_table(job["qdrant"], columns=["id", "pooled"]).to_pylist()
    client = QdrantClient(":memory:")
    size = models.VectorParams(size=len(rows[0]["pooled"]), distance=models.Distance.DOT)
    client.create_collection("photos", vectors_config=size)
    client.upsert("photos", [models.PointStruct(id=row["id"], vector=row["pooled"]) for row in rows])
    answers = []
    for vector in np.load(job["vectors"]):
        found = client.query_points("photos", query=vector.tolist(), limit=job["limit"]).points
        answers.append([[point.id, point.score] for point in found])
    client.close()
    return answers


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    (perform,) = (function for name, function in globals().copy().items() if name in given and callable(function))
    sys.stdout.write(json.dumps(perform(given)))
