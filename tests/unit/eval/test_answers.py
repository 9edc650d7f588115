"""Answers of every invariance against a plain loop over all pairs."""

import itertools

import numpy as np
import pytest
import torch

from semret.errors import ArgumentError, UnknownNameError
from semret.eval import answers as search
from semret.eval.answers import find_answers
from semret.eval.database import measure_center
from semret.eval.ranking import rank_rows, shortlist_ranks
from semret.retrieval.search.candidates import InMemoryTokens
from semret.retrieval.similarity.pairs import matched_similarity

KERNELS = ("cosine", "linear", "rbf")
INVARIANCES = ("pooled", "none", "maxsim", "permutation")


def source(tokens):
    return InMemoryTokens(tokens, ids=np.arange(len(tokens)) * 10 + 3)


@pytest.fixture(scope="module")
def sources():
    rng = np.random.default_rng(0)
    scale = rng.uniform(0.5, 2.0, size=(20, 1, 1))
    tokens = (scale * rng.normal(size=(20, 9, 6)) + rng.normal(size=6)).astype(np.float32)
    tokens[12] = tokens[2][::-1]  # the same things, moved
    return source(tokens[:6]), source(tokens[6:])


@pytest.fixture(scope="module")
def allowed():
    mask = np.random.default_rng(1).random((6, 14)) < 0.8
    mask[2, 6] = True
    return mask


def brute_force(queries, database, allowed, kernel, invariance, mode, sigma, k):
    middle = measure_center(database, mode)
    center = middle.pooled if invariance == "pooled" else middle.tokens
    table = np.full(allowed.shape, -np.inf)
    for i, j in zip(*np.nonzero(allowed), strict=True):
        a, b = queries.tokens[i], database.tokens[j]
        if invariance == "pooled":
            a, b = a.mean(axis=0, keepdims=True), b.mean(axis=0, keepdims=True)
        table[i, j] = float(
            matched_similarity(
                a.astype(np.float64), b.astype(np.float64), kernel=kernel, invariance=invariance, center=center,
                sigma=sigma, **({"solver": "scipy"} if invariance == "permutation" else {}),
            )
        )  # fmt: skip
    rows = np.argsort(-table, axis=1, kind="stable")[:, :k]
    return rows, np.take_along_axis(table, rows, axis=1)


@pytest.mark.parametrize("mode", ["position", "channel", "none"])
@pytest.mark.parametrize("full_matrix", [False, True])
def test_answers_are_those_of_a_loop_over_all_pairs(sources, allowed, mode, full_matrix):
    found = find_answers(
        *sources, allowed, k=3, kernels=KERNELS, invariances=INVARIANCES, center=mode, full_matrix=full_matrix
    )
    for kernel, invariance in itertools.product(KERNELS, INVARIANCES):
        answers = found[kernel, invariance]
        sigma = answers.sigma if answers.sigma is not None else 1.0
        rows, scores = brute_force(*sources, allowed, kernel, invariance, mode, sigma, 3)
        np.testing.assert_array_equal(answers.rows, rows, err_msg=f"{kernel} {invariance}")
        if kernel != "rbf" or answers.sigma is not None:
            np.testing.assert_allclose(answers.scores, scores, rtol=2e-4, atol=1e-5)
        assert allowed[np.arange(6)[:, None], answers.rows].all()


def test_matching_finds_what_was_moved_and_position_does_not(sources):
    everything = np.ones((6, 14), dtype=bool)
    found = find_answers(*sources, everything, invariances=("none", "permutation"), center="channel")
    assert found["cosine", "permutation"].rows[2, 0] == 6
    assert found["cosine", "permutation"].scores[2, 0] == pytest.approx(1.0, abs=1e-6)
    assert found["cosine", "none"].scores[2].max() < 0.9


def test_small_chunks_change_nothing(sources, allowed, monkeypatch):
    options = {"k": 2, "kernels": KERNELS, "invariances": INVARIANCES}
    whole = find_answers(*sources, allowed, **options)
    monkeypatch.setattr(search, "CHUNK_BYTES", 4 * 9 * 6 * 3)
    monkeypatch.setattr(search, "BLOCK_BYTES", 4 * 9 * 6 * 2)
    calls = []
    parts = find_answers(*sources, allowed, **options, progress=lambda done, total: calls.append((done, total)))
    for cell, answers in whole.items():
        np.testing.assert_array_equal(parts[cell].rows, answers.rows)
        np.testing.assert_allclose(parts[cell].scores, answers.scores, rtol=1e-5)
    assert calls[-1][0] == calls[-1][1]
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)


def test_bounds_rule_pairs_out_without_changing_the_answer():
    rng = np.random.default_rng(5)
    places = rng.normal(size=(4, 16, 8))
    tokens = np.concatenate([places + 0.1 * rng.normal(size=places.shape) for _ in range(10)]).astype(np.float32)
    queries, database = source(tokens[:4]), source(tokens[4:])
    everything = np.ones((4, 36), dtype=bool)
    pruned = find_answers(queries, database, everything)["cosine", "permutation"]
    solved = find_answers(queries, database, everything, prune=False)["cosine", "permutation"]
    np.testing.assert_array_equal(pruned.rows, solved.rows)
    np.testing.assert_array_equal(pruned.scores, solved.scores)
    assert solved.solved == 144
    assert pruned.solved < 72
    assert pruned.solved + pruned.pruned == 144


@pytest.mark.slow
@pytest.mark.parametrize("full_matrix", [False, True])
def test_a_device_changes_no_answer(sources, full_matrix):
    few = source(sources[0].tokens[:2, :4]), source(sources[1].tokens[:6, :4])
    allowed = np.array([[1, 1, 0, 1, 1, 1], [0, 1, 1, 1, 1, 1]], dtype=bool)
    options = {"k": 2, "kernels": KERNELS, "invariances": ("permutation",), "full_matrix": full_matrix}
    plain = find_answers(*few, allowed, **options)
    found = find_answers(*few, allowed, **options, device="cuda" if torch.cuda.is_available() else "cpu")
    for cell, answers in plain.items():
        np.testing.assert_array_equal(found[cell].rows, answers.rows)
        if full_matrix:
            np.testing.assert_allclose(found[cell].scores, answers.scores, rtol=1e-6)
        else:
            np.testing.assert_array_equal(found[cell].scores, answers.scores)


def test_queries_with_fewer_allowed_answers_than_k_are_filled_up(sources):
    allowed = np.zeros((6, 14), dtype=bool)
    allowed[:, 4] = allowed[:, 9] = True
    for answers in find_answers(*sources, allowed, k=3, invariances=INVARIANCES).values():
        assert (answers.rows[:, 2] == -1).all()
        assert np.isnan(answers.scores[:, 2]).all()
        assert set(answers.rows[:, :2].ravel().tolist()) == {4, 9}


def test_rank_rows_takes_equal_scores_in_order():
    scores = np.array([[1.0, 2.0, 2.0, 2.0, 0.0]])
    allowed = np.array([[True, False, True, True, True]])
    assert rank_rows(scores, allowed, 2).tolist() == [[2, 3]]
    assert rank_rows(scores, allowed, 5).tolist() == [[2, 3, 0, 4, -1]]


def test_rank_in_the_shortlist_counts_allowed_images_before_the_answer():
    database = source(np.array([[[1.0, 0.0]], [[0.0, 1.0]], [[-1.0, 0.0]], [[0.0, -1.0]]], dtype=np.float32))
    query = source(np.array([[[1.0, 0.2]]], dtype=np.float32))
    everything = np.ones((1, 4), dtype=bool)
    ranks = [int(shortlist_ranks(query, database, everything, np.array([row]))[0]) for row in range(4)]
    assert ranks == [1, 2, 4, 3]
    assert int(shortlist_ranks(query, database, np.array([[False, True, True, True]]), np.array([1]))[0]) == 1


def test_unknown_names_and_no_answers_are_refused(sources, allowed):
    with pytest.raises(UnknownNameError, match="did you mean cosine"):
        find_answers(*sources, allowed, kernels=("cosin",))
    with pytest.raises(UnknownNameError, match="center"):
        find_answers(*sources, allowed, center="middle")
    with pytest.raises(ArgumentError, match="k is 0"):
        find_answers(*sources, allowed, k=0)
