"""Processes forked from one that has searched, as servers that load once and fork many workers do."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semret import build

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")

SCRIPT = """
import multiprocessing, os, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)
import faiss, numpy as np, torch
import semret
from semret.index import vectors
from semret.retrieval.search.candidates import Query
from semret.retrieval.search.rerank import rerank
torch.set_num_threads(4)
faiss.omp_set_num_threads(4)
vectors.FAISS_PRODUCTS = 0
engine = semret.open(sys.argv[1], device="cpu")
picture = np.random.default_rng(9).integers(0, 255, (300, 300, 3), dtype=np.uint8)
maps = np.random.default_rng(0).standard_normal((40, 60, 64)).astype("f4")

def work(_=None):
    from semret.index.backbones.registry import create_backbone
    found = [(hit.id, round(hit.score, 5)) for hit in engine.query(picture, k=3)]
    create_backbone(device="cpu")
    semret.rsm(maps, threads=4)
    return found

expected = work()
assert len(expected) == 3
child = os.fork()
if child == 0:
    grandchild = os.fork()
    os._exit(0 if work() == expected and (grandchild == 0 or os.waitpid(grandchild, 0)[1] == 0) else 3)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(work, range(4)) == [expected] * 4
assert work() == expected
assert torch.get_num_threads() == 4
print("done")
"""


@pytest.fixture
def index(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for number in range(5):
        Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(tmp_path / f"{number}.png")
    build([tmp_path], index=tmp_path / ".semret", device="cpu")
    return tmp_path / ".semret"


def test_children_answer_as_their_parent_does(index: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(index)], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.stdout == "done\n", done.stderr


def test_a_network_on_an_accelerator_is_refused_in_a_child(index: Path) -> None:
    script = (
        "import os, sys, torch, numpy as np\n"
        "from semret.errors import BackboneError\n"
        "from semret.index.backbones.registry import create_backbone\n"
        "net = create_backbone(device='cpu', layer='blocks.3.1.depthwise')\n"
        "net._device = torch.device('cuda')\n"
        "batch = np.zeros((1, 3, *net.preprocessing.size), 'f4')\n"
        "if os.fork() == 0:\n"
        "    try:\n"
        "        net.embed(batch)\n"
        "    except BackboneError as error:\n"
        "        print(error, flush=True)\n"
        "    os._exit(0)\n"
        "os.wait()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100)
    assert "before this process was forked" in done.stdout, done.stderr
