"""Bounds go on from where they were: what was computed before is not computed again, and changes nothing."""

from __future__ import annotations

import numpy as np
import pytest

from semret.integer_tokens import IntegerTokens
from semret.retrieval.similarity import integer_bounds
from semret.retrieval.similarity.integer_bounds import PHASES, StepBounds, level
from semret.retrieval.similarity.integer_maps import prepare_integers


def maps(count, positions, seed=0):
    rng = np.random.default_rng(seed)
    things = rng.integers(-90, 91, size=(6, 16))
    integers = things[rng.integers(0, 6, size=(count, positions))] + rng.integers(-20, 21, size=(count, positions, 16))
    scales = rng.uniform(0.5, 2, size=(count, positions)).astype(np.float32)
    return level(prepare_integers(IntegerTokens(integers=integers.astype(np.int8), scales=scales)))


def bounds_of(steps):
    return steps.uppers.tolist(), steps.lowers.tolist()


@pytest.mark.parametrize(("own", "other"), [(40, 40), (41, 40), (40, 41), (5, 40), (40, 5), (1, 1)])
def test_phase_after_phase_gives_the_bounds_of_all_at_once(own, other):
    query, many, everyone = maps(1, own, seed=1), maps(12, other), np.arange(12)
    whole, steps = StepBounds(query, many, threads=1), StepBounds(query, many, threads=2)
    whole.tighten(everyone, len(PHASES))
    for phases in (0, 1, len(PHASES)):
        steps.tighten(everyone[::-1].copy(), phases)
    assert bounds_of(steps) == bounds_of(whole)


def test_a_phase_that_was_not_wanted_is_run_once_it_is():
    query, many, everyone = maps(1, 40, seed=1), maps(12, 40), np.arange(12)
    whole, steps = StepBounds(query, many, threads=1), StepBounds(query, many, threads=1)
    whole.tighten(everyone, 2)
    steps.tighten(everyone, 2, np.full(12, np.inf))
    assert not (np.array(steps.lowers) > -(2**60)).any()
    steps.tighten(everyone, 2)
    assert bounds_of(steps) == bounds_of(whole)


def test_what_was_done_is_not_done_again(monkeypatch):
    query, many, everyone = maps(1, 40, seed=1), maps(12, 40), np.arange(12)
    steps = StepBounds(query, many, threads=1)
    steps.tighten(everyone, 1)
    before, real, moved = bounds_of(steps), integer_bounds._bound_in_steps, []

    def spied(counter, *arguments):
        integers = arguments[0]
        # Were a product formed, it would be of these.
        moved.append(real(counter, np.zeros_like(integers), *arguments[1:]))

    monkeypatch.setattr(integer_bounds, "_bound_in_steps", spied)
    steps.tighten(everyone, 1)
    assert len(moved) == 1
    assert bounds_of(steps) == before
