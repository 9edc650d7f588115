"""Pages are written whole: who is killed while writing one leaves the page that was there before."""

import os
import signal
import subprocess
import sys

import pytest

from semret.index.sync.sync import sync
from tests.support.places import with_root

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the limit of a file's size is POSIX")

_KILLED = """
import resource
import signal

from semret.retrieval.search import page

whole = page.render_page


def render(*arguments, **options):
    text = whole(*arguments, **options)
    # Half of the page fits; the system kills who writes more.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(text) // 2, len(text) // 2))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    return text


page.render_page = render

from semret.cli import run

run()
"""


@pytest.fixture
def photos(tmp_path, draw_picture, tiny_backbone):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("1.png", "2.png", "copy.png"):
        draw_picture(int(name[0]) if name[0].isdigit() else 1, (96, 72)).save(folder / name)
    sync(tmp_path / ".semret", [folder], tiny_backbone)
    return folder


@pytest.mark.parametrize("command", ["query", "rerank", "duplicates"])
def test_a_kill_leaves_the_former_page(photos, tmp_path, command):
    page, candidates = tmp_path / "page.html", tmp_path / "candidates"
    candidates.write_text("1\n2\n")
    asked = {
        "query": ["query", photos / "1.png"],
        "rerank": ["rerank", "--query", photos / "1.png", "--candidates", candidates],
        "duplicates": ["duplicates"],
    }
    arguments = [*map(str, asked[command]), "--index", str(tmp_path / ".semret"), "--html", str(page)]
    environment = with_root(dict(os.environ))
    done = subprocess.run([sys.executable, "-m", "semret", *arguments], env=environment, timeout=120, check=False)
    assert done.returncode == 0
    former = page.read_bytes()
    assert len(former) > 4096
    killed = subprocess.run([sys.executable, "-c", _KILLED, *arguments], env=environment, timeout=120, check=False)
    assert killed.returncode == -signal.SIGXFSZ
    assert page.read_bytes() == former
