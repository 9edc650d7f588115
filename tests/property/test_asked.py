"""Filters and questions of several pictures, checked against exhaustive answers to questions of one picture."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import semret
from semret.index.sync.sync import sync
from semret.retrieval.search.several import Combining, combined

ALL = 100
FOLDERS = ("a", "a/b", "a/b/c", "d", "d/e", "ab")
COUNT = 24


@pytest.fixture(scope="module")
def engine(tmp_path_factory, tiny_backbone, draw_picture):
    """An index of 24 pictures in six folders, changed in eight years; every sixth is a copy of another."""
    root = tmp_path_factory.mktemp("asked") / "root"
    for number in range(COUNT):
        file = root / FOLDERS[number * 5 % 6] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        draw_picture(number if number % 6 else number // 12).save(file)
        stamp = (2000 + number % 8 - 1970) * 365.25 * 86400 + 86400 * 100
        os.utime(file, (stamp, stamp))
    sync(root / ".semret", [root], tiny_backbone)
    with semret.open(root / ".semret") as found:
        yield found


FOLDER_SETS = st.lists(st.sampled_from(FOLDERS), max_size=3, unique=True)
YEARS = st.one_of(st.none(), st.integers(1999, 2009).map(str))
HOW = st.sampled_from(
    [{}, {"invariance": "maxsim"}, {"score": "query"}, {"kernel": "linear"}, {"region": "0%,0%,60%,60%"}]
)
PICTURES = st.lists(st.integers(1, COUNT), min_size=1, max_size=3, unique=True)


def allowed(engine, folders, since, until):
    """Return the ids that pass, by hand."""
    root = engine.collection.root.folder
    found = set()
    for id_, path in zip(engine.ids.tolist(), engine.paths, strict=True):
        place = os.path.relpath(path, root)
        year = 2000 + int(Path(path).stem) % 8
        inside = not folders or any(place.startswith(f"{folder}/") for folder in folders)
        if inside and (since is None or year >= int(since)) and (until is None or year <= int(until)):
            found.add(id_)
    return found


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(id_=st.integers(1, COUNT), folders=FOLDER_SETS, since=YEARS, until=YEARS, how=HOW, k=st.integers(1, 30))
def test_a_filtered_answer_is_the_filtered_exhaustive_answer(engine, id_, folders, since, until, how, k):
    if since is not None and until is not None and since > until:
        since, until = until, since
    admitted = allowed(engine, folders, since, until)
    everything = engine.query(id_, k=ALL, exhaustive=True, **how)
    expected = []
    for hit in everything:
        ids = tuple(one for one in hit.ids if one in admitted)
        if ids:
            expected.append((hit.score, ids))
    expected.sort(key=lambda pair: (-pair[0], pair[1][0]))
    for more in ({}, {"exhaustive": True}):
        found = engine.query(id_, k=k, folder=folders, since=since, until=until, **how, **more)
        assert [(hit.score, hit.ids) for hit in found] == expected[:k]
        if folders or since or until:
            assert found.stats.allowed == len(admitted)
    if len(expected) > 1:
        least = expected[len(expected) // 2][0]
        found = engine.query(id_, k=k, folder=folders, since=since, until=until, min_score=least, **how)
        assert [(hit.score, hit.ids) for hit in found] == [pair for pair in expected if pair[0] >= least][:k]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    wanted=PICTURES,
    avoided=PICTURES,
    folders=FOLDER_SETS,
    how=st.sampled_from([{}, {"invariance": "maxsim"}, {"score": "query"}, {"kernel": "linear"}]),
    combine=st.sampled_from(["scores", "ranks"]),
    weight=st.sampled_from([0, 0.5, 0.75, 2]),
    k=st.integers(1, 30),
)
def test_several_pictures_are_answered_as_by_brute_force(engine, wanted, avoided, folders, how, combine, weight, k):
    contents = {engine.collection.hashes([id_])[0] for id_ in wanted}
    avoided = [id_ for id_ in avoided if engine.collection.hashes([id_])[0] not in contents]
    hidden = {copy for id_ in avoided for copy in engine.collection.copies(id_).tolist()}
    admitted = allowed(engine, folders, None, None) - hidden
    tables = []
    for id_ in (*wanted, *avoided):
        scores = {}
        for hit in engine.query(id_, k=ALL, exhaustive=True, **how):
            ids = tuple(one for one in hit.ids if one in admitted)
            if ids:
                scores[ids] = hit.score
        tables.append(scores)
    groups = sorted(tables[0])
    matrix = np.array([[scores[group] for group in groups] for scores in tables]).reshape(len(tables), len(groups))
    one = combined(matrix[: len(wanted)], matrix[len(wanted) :], Combining(how=combine, avoid_weight=weight))
    order = sorted(range(len(groups)), key=lambda row: (-one[row], groups[row]))
    expected = [(float(one[row]), groups[row], tuple(matrix[:, row].tolist())) for row in order]
    options = {"avoid": avoided, "combine": combine, "avoid_weight": weight, "folder": folders, **how}
    for more in ({}, {"exhaustive": True}):
        found = engine.query_all(wanted, k=k, **options, **more)
        assert [(hit.score, hit.ids, hit.parts) for hit in found] == expected[:k]
