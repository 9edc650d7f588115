"""A vector database as first stage: LanceDB and Qdrant, in this machine's memory, find what the shortlist finds."""

from __future__ import annotations

import ast
import itertools
import json
import subprocess
import sys

import numpy as np
import pytest

import semret
from semret.cli import app
from semret.index.backbones.registry import create_backbone
from semret.index.sync.report import SyncOptions
from semret.index.sync.sync import sync
from tests.support.commands import invoke
from tests.support.places import ROOT, with_root
from tests.support.processes import command_of

pytestmark = pytest.mark.slow

CANDIDATES = 5


def databases(**job):
    """Have a job done by `tests.support.lance_driver`; return what it printed."""
    done = subprocess.run(
        [*command_of("lance_driver"), json.dumps(job, default=str)],
        capture_output=True, text=True, env=with_root(), timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(params=["none", "pca16-int8"])
def engine(request, tmp_path, rendered, rendered_index):
    """Indexes of floats and of integers, by the real network at a small input size."""
    index = rendered_index
    if request.param != "none":
        index = tmp_path / "coded"
        options = SyncOptions(codec=request.param, fit_from=2)
        sync(index, [rendered], lambda: create_backbone(size=(128, 128)), options=options)
    with semret.open_index(index) as opened:
        yield opened


def test_candidates_and_scores_are_those_of_the_shortlist(tmp_path, engine, rendered, draw_picture):
    draw_picture(3).save(tmp_path / "new.png")
    asked = [engine.represent(picture) for picture in (tmp_path / "new.png", rendered / "scene-001-2.jpg", 7)]
    np.save(tmp_path / "asked.npy", [engine.query_vector(seen) for seen in asked])
    (tmp_path / "lancedb").mkdir()
    job = {"write": tmp_path / "lancedb" / "photos.lance", "index": engine.collection.path}
    databases(**job, options={"pooled": True})
    engine.write_tokens(tmp_path / "photos.parquet", pooled=True)
    common = {"vectors": tmp_path / "asked.npy", "limit": CANDIDATES}
    for answers in (
        databases(search=tmp_path / "lancedb", table="photos", **common),
        databases(qdrant=tmp_path / "photos.parquet", **common),
    ):
        for seen, found in zip(asked, answers, strict=True):
            ids, scores = zip(*found, strict=True)
            shortlist = engine.collection.shortlist(seen.pooled, CANDIDATES)
            assert list(ids) == shortlist.ids[0].tolist()
            assert np.allclose(scores, shortlist.scores[0], atol=1e-6)
            ours, theirs = engine.query(seen, k=3, shortlist=CANDIDATES), engine.rerank(seen, ids, k=3)
            assert (theirs.ids, theirs.scores.tolist()) == (ours.ids, ours.scores.tolist())
            assert [hit.pooled_score for hit in theirs] == [hit.pooled_score for hit in ours]


def test_what_a_database_prints_is_a_list_of_candidates(engine, rendered):
    seen = engine.represent(rendered / "scene-002-1.jpg")
    ids = engine.collection.shortlist(seen.pooled, CANDIDATES).ids[0].tolist()
    found = [{"id": id_, "path": engine.collection.paths([id_])[0], "_distance": 0.5} for id_ in ids]
    words = ["rerank", "--query", rendered / "scene-002-1.jpg", "--candidates", "-", "-k", "3", "--format", "jsonl"]
    for text in ("\n".join(map(json.dumps, found)), json.dumps(found), "\n".join(map(str, ids))):
        done = invoke(app, *words, "--index", engine.collection.path, input=text)
        assert done.exit_code == 0, done.output
        ours = engine.query(seen, k=3, shortlist=CANDIDATES)
        assert [hit["id"] for hit in json.loads(done.stdout)["hits"]] == list(ours.ids)


def example(name):
    return ROOT / "examples" / f"first_stage_{name}.py"


def before_the_database(name):
    """What an example does until its index is open: pictures are rendered, and indexed."""
    statements = ast.parse(example(name).read_text("utf-8")).body
    (main,) = [one for one in statements if isinstance(one, ast.FunctionDef) and one.name == "main"]
    beginning = itertools.takewhile(lambda one: not isinstance(one, ast.With), main.body[1:])
    return [ast.unparse(one) for one in beginning]


def test_the_examples_differ_in_the_database_only():
    assert before_the_database("lancedb") == before_the_database("qdrant") != []


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The folder of both examples: what they do alike, see above, is done for the first only."""
    return tmp_path_factory.mktemp("examples")


@pytest.mark.parametrize("name", ["lancedb", "qdrant"])
def test_the_example_runs_as_a_script_and_finds_what_semret_alone_finds(place, name):
    done = subprocess.run(
        [sys.executable, str(example(name))],
        cwd=place, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with semret.open_index(place / "first-stage" / "index") as engine:
        asked = sorted((place / "first-stage" / "pictures").glob("*.jpg"))[4]
        result = engine.query(asked, k=5, shortlist=20, exclude_self=True)
    lines = [line.split(" ", 2) for line in done.stdout.splitlines()]
    assert [line[2].rsplit("/", 1)[1] for line in lines] == [path.rsplit("/", 1)[1] for path in result.paths]
    assert [line[1] for line in lines] == [f"{score:.3f}" for score in result.scores]
