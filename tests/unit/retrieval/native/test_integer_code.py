"""The products of int8 on other processors: the numbers are the same, to the bit, as are the scores."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from semret.errors import ShapeError
from semret.integer_tokens import IntegerTokens
from semret.retrieval.native import panels
from semret.retrieval.native.tiles import BYTE_INSTRUCTION, COLUMNS, GROUP, ROWS
from semret.retrieval.similarity.integer_maps import exact_affinities, prepare_integers
from tests.support.places import with_root

PROGRAM = """
import json
import numpy as np
from semret.integer_tokens import IntegerTokens
from semret.retrieval.native import tiles
from semret.retrieval.search.candidates import InMemoryTokens, Query
from semret.retrieval.search.options import RerankOptions
from semret.retrieval.search.rerank import rerank

generator = np.random.default_rng(0)
found = [tiles.BYTE_INSTRUCTION is None and tiles.INSTRUCTION is None, tiles.GROUP]
for positions, dimension in ((9, 7), (36, 64), (33, 20)):
    things = generator.integers(-90, 91, size=(12, dimension))
    integers = things[generator.integers(0, 12, size=(60, positions))]
    integers = np.clip(integers + generator.integers(-30, 31, size=integers.shape), -127, 127).astype(np.int8)
    scales = generator.uniform(0.1, 2, size=integers.shape[:2]).astype(np.float32)
    tokens = IntegerTokens(integers=integers, scales=scales)
    for invariance in ("permutation", "none", "maxsim"):
        for kernel in ("cosine", "linear"):
            options = RerankOptions(k=8, kernel=kernel, invariance=invariance)
            best = rerank(Query(tokens=tokens[[5]]), InMemoryTokens(tokens), options)
            found.append([best.rows.tolist(), [score.hex() for score in best.scores.tolist()]])
print(json.dumps(found))
"""


def answers(tmp_path, **settings: str) -> list:
    environment = {**with_root(os.environ), "NUMBA_CACHE_DIR": str(tmp_path), **settings}
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout)


@pytest.mark.slow
def test_scores_are_the_same_compiled_anew_from_disk_and_for_another_processor(tmp_path):
    anew, from_disk = answers(tmp_path), answers(tmp_path)
    assert anew == from_disk
    plain = answers(tmp_path, NUMBA_ENABLE_AVX="0")
    assert plain[:2] == [True, 2]
    assert plain[2:] == anew[2:]


@pytest.mark.parametrize("positions", [1, ROWS - 1, ROWS, ROWS + 1, COLUMNS + 1])
@pytest.mark.parametrize("dimension", [1, 2, 3, 4, 5, 63, 64, 2048])
def test_products_are_exact_at_every_edge_of_a_tile(positions, dimension):
    generator = np.random.default_rng(positions * dimension)
    integers = generator.integers(-127, 128, size=(3, positions, dimension)).astype(np.int8)
    integers[1] = 127
    integers[2] = -127
    maps = prepare_integers(IntegerTokens(integers=integers, scales=np.ones((3, positions))))
    for row in range(3):
        found = exact_affinities(maps[row : row + 1], maps, threads=1)
        wide = integers.astype(np.int64)
        np.testing.assert_array_equal(found, np.einsum("sd,ntd->nst", wide[row], wide))


def test_panels_say_what_to_add_to_each_column():
    tokens = np.array([[1, 2, 3], [-127, 0, 127]], dtype=np.int8)
    laid_out, offsets = panels.byte_panels(tokens)
    assert laid_out.shape == (1, -(-3 // GROUP), COLUMNS, GROUP)
    assert offsets[:3].tolist() == ([0, 0, 0] if BYTE_INSTRUCTION is None else [-128 * 6, 0, 0])


def test_tokens_too_long_for_int32_are_refused():
    long = IntegerTokens(integers=np.zeros((1, 1, panels.LONGEST + 1), np.int8), scales=np.ones((1, 1)))
    with pytest.raises(ShapeError, match="65537 numbers, integer tokens may have 65536"):
        prepare_integers(long)
