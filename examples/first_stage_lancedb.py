"""LanceDB as first stage, semret to rerank what it finds: `python examples/first_stage_lancedb.py`.

Needs no network: pictures are rendered, the default model's weights come with the installation, and LanceDB runs in
this process. ``pip install 'semret[lance]' lancedb`` brings what it needs.
"""

from __future__ import annotations

import sys
from pathlib import Path

import lancedb

import semret
from semret.eval.scenes.collection import render_collection

FOLDER = Path("first-stage")
CANDIDATES = 20


def main() -> None:
    """Index pictures, hand their pooled embeddings to LanceDB, and ask both a question."""
    if not FOLDER.exists():
        render_collection(FOLDER / "pictures", 70, seed=0)
    pictures = sorted((FOLDER / "pictures").glob("*.jpg"))
    semret.build(FOLDER / "pictures", index=FOLDER / "index")

    with semret.open_index(FOLDER / "index") as engine:
        # What semret writes is a table of LanceDB's; nothing is copied.
        (FOLDER / "lancedb").mkdir(exist_ok=True)
        engine.write_tokens(FOLDER / "lancedb" / "photos.lance", pooled=True)
        table = lancedb.connect(FOLDER / "lancedb").open_table("photos")

        # Embedded once, for both stages.
        asked = engine.represent(pictures[4])
        search = table.search(engine.query_vector(asked), vector_column_name="pooled").distance_type("dot")
        # Any filter of the database's: here pictures of at least 100 pixels.
        found = search.where("width >= 100", prefilter=True).limit(CANDIDATES).select(["id", "_distance"]).to_list()

        result = engine.rerank(asked, [row["id"] for row in found], k=5, exclude_self=True)
        for hit in result:
            sys.stdout.write(f"{hit.rank} {hit.score:.3f} {hit.path}\n")


if __name__ == "__main__":
    main()
