"""How commands begin and end: usage, odd streams, a deleted current folder, Ctrl-C from the start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from semret.cli import app
from semret.commands.tables import shared_widths
from tests.support.processes import Driver

COMMAND = [sys.executable, "-m", "semret"]
posix = pytest.mark.skipif(os.name != "posix", reason="signals and /dev/full are POSIX")


def run(*arguments: object, **options: object) -> subprocess.CompletedProcess:
    options.setdefault("stdout", subprocess.PIPE)
    return subprocess.run([*COMMAND, *map(str, arguments)], stderr=subprocess.PIPE, text=True, timeout=120, **options)


@pytest.fixture(scope="module")
def odd_commands(tmp_path_factory, draw_picture, tiny_backbone):
    """Commands that print something of an index of pictures whose names few encodings have."""
    from semret.index.collection import open_collection
    from semret.index.sync.sync import sync
    from semret.retrieval.search.engine import SearchEngine

    top = tmp_path_factory.mktemp("odd")
    photos, index = top / "photos", top / "index"
    photos.mkdir()
    for seed in range(6):
        draw_picture(seed).save(photos / ("Zoë 写真 \x1b[31m.png" if seed == 0 else f"{seed}.png"))
    sync(index, [photos], tiny_backbone)
    # Where nothing is compiled yet, the first search says that it compiles.
    SearchEngine(open_collection(index)).query(1)
    np.save(top / "é.npy", np.eye(4))
    query = ["query", photos / "1.png", "-k", 6]
    at = ["--index", index]
    commands = [
        *([*query, "--format", name, *at] for name in ("table", "json", "jsonl", "csv", "paths")),
        ["cka", top / "é.npy", top / "é.npy"],
        ["cka", top / "é.npy", top / "é.npy", "--format", "csv"],
        [*query, "--format", "paths", "--print0", *at],
        ["info", *at],
        ["info", "--format", "json", *at],
        ["verify", *at],
        ["models"],
        ["models", "--format", "csv"],
        ["--help"],
        ["index", photos, *at],
    ]
    return [[str(word) for word in words] for words in commands]


STARTED_ANEW = ("query", "cka", "index")
"""The first of each of these is also started as a program; all run in forks of one that has imported what they need."""


@contextmanager
def forks(**environment: str) -> Iterator[Callable[..., SimpleNamespace]]:
    """Yield a function that runs a command with this ``stdout``; see `tests.support.stream_driver`."""
    driver = Driver("stream_driver", without_index({**os.environ, **environment}))

    def forked(words: Sequence[object], stdout: str, *, nowhere: bool = False) -> SimpleNamespace:
        job = {"words": [str(word) for word in words], "stdout": stdout, "nowhere": nowhere}
        return SimpleNamespace(**driver(job))

    yield forked
    driver.close()


def without_index(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment that names no index."""
    return {key: value for key, value in environment.items() if key != "SEMRET_INDEX"}


def started_anew(commands: list[list[str]]) -> list[list[str]]:
    """Return the first command of each kind that is to be started as a program."""
    return [next(words for words in commands if words[0] == name) for name in STARTED_ANEW]


@pytest.mark.slow
@posix
@pytest.mark.parametrize("encoding", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C"}, {"PYTHONIOENCODING": "cp1252"}])
def test_what_an_encoding_lacks_is_escaped(odd_commands, encoding):
    with forks(**encoding) as forked:
        found = [(words, forked(words, "file")) for words in odd_commands]
    for words in started_anew(odd_commands):
        done = run(*words, env={**os.environ, **encoding}, encoding="latin-1")
        found.append((words, SimpleNamespace(status=done.returncode, stdout=done.stdout, stderr=done.stderr)))
    for words, done in found:
        assert (done.status, done.stderr) == (0, ""), words
        assert done.stdout
        assert "\x1b" not in done.stdout or "--print0" in words


@pytest.mark.slow
@posix
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_line_and_a_failure(odd_commands):
    said = "semret: cannot write the output: No space left on device\n"
    with forks() as forked:
        for words in odd_commands:
            done = forked(words, "full")
            assert (done.status, done.stderr) == (1, said), words
    for words in started_anew(odd_commands):
        with Path("/dev/full").open("w") as full:
            done = run(*words, stdout=full)
        assert (done.returncode, done.stderr) == (1, said), words


@pytest.mark.slow
@posix
def test_a_closed_output_is_silence(odd_commands):
    with forks() as forked:
        for words in odd_commands:
            done = forked(words, "closed")
            assert (done.status, done.stdout, done.stderr) == (0, "", ""), words
    for words in started_anew(odd_commands):
        shell = 'exec "$@" >&-'
        done = subprocess.run(["sh", "-c", shell, "sh", *COMMAND, *words], capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), words


@pytest.mark.slow
@posix
def test_a_reader_that_goes_is_silence(odd_commands):
    with forks() as forked:
        for words in odd_commands:
            done = forked(words, "gone")
            assert (done.status, done.stderr) == (0, ""), words
    for words in started_anew(odd_commands):
        read, write = os.pipe()
        os.close(read)
        done = run(*words, stdout=write)
        os.close(write)
        assert (done.returncode, done.stderr) == (0, ""), words


@posix
def test_without_stderr_results_are_printed_and_failures_are_failures(odd_commands, tmp_path):
    shell = 'exec "$@" 2>&-'
    for arguments, status in ((odd_commands[0], 0), (["info", "--index", tmp_path / "none"], 1)):
        done = subprocess.run(["sh", "-c", shell, "sh", *COMMAND, *map(str, arguments)], capture_output=True, text=True)
        assert done.returncode == status
        assert bool(done.stdout) == (status == 0)


STARTED = "import os, semret.__main__; os.write(1, b'.'); semret.__main__.main()"


@pytest.mark.slow
@posix
@pytest.mark.parametrize("command", ["index photos", "query photos/1.png", "info", "models", "eval cka", "rsm a -o b"])
def test_interrupt_from_the_first_moment_on(photos, command):
    for delay in (0.01, 0.05, 0.1, 0.2, 0.3, 0.5):
        begun = subprocess.Popen(
            [sys.executable, "-c", STARTED, *command.split()],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=photos.parent,
            env={**os.environ, "SEMRET_INDEX": str(photos.parent / "index"), "HF_HUB_OFFLINE": "1"},
        )
        begun.stdout.read(1)
        time.sleep(delay)
        begun.send_signal(signal.SIGINT)
        _, said = begun.communicate(timeout=60)
        # It may have come to its own end before.
        assert begun.returncode in (130, 0, 1)
        assert "Traceback" not in said
        assert said.count("\n") <= 3


@posix
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a current folder cannot be deleted")
def test_without_a_current_folder_absolute_paths_work(tmp_path, photos, tiny_index):
    gone = tmp_path / "gone"

    def from_nowhere(*arguments: object) -> subprocess.CompletedProcess:
        gone.mkdir()
        shell = f'cd "{gone}" && rmdir "{gone}" && exec "$@"'
        command = ["sh", "-c", shell, "sh", *COMMAND, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, env=without_index(os.environ))

    at = ["--index", tiny_index]
    for arguments in (["info", *at], ["query", photos / "1.png", *at], ["verify", "--files", *at], ["models"]):
        done = from_nowhere(*arguments)
        assert (done.returncode, done.stderr) == (0, ""), arguments
    refused = (
        (["info"], "the index"),
        (["query", "1.png", *at], "1.png"),
        (["rerank", "--query", "1.png", "--candidates", "-", *at], "1.png"),
        (["index", "photos", *at], "photos"),
        (["index", "s3://bucket/photos", "photos", *at], "photos"),
        (["remove", "photos/1.png", *at], "photos/1.png"),
        (["export", "x.tar", *at], "x.tar"),
        (["rsm", "f.npy", "-o", tmp_path / "x.npy"], "f.npy"),
    )
    said = "semret: the current folder was deleted: change to another, or name {} by an absolute path\n"
    done = from_nowhere(*refused[0][0])
    assert (done.returncode, done.stderr) == (1, said.format("the index"))
    with forks() as forked:
        for arguments, name in refused:
            done = forked(arguments, "file", nowhere=True)
            assert (done.status, done.stderr) == (1, said.format(name)), arguments


@pytest.mark.parametrize(
    ("command", "usage"),
    [
        ("index", "PATH..."),
        ("remove", "PATH..."),
        ("query", "[IMAGE]..."),
        ("export", "FILE"),
        ("rsm", "FEATURES"),
        ("eval compare", "REPORT..."),
        ("eval make-data", "LAYOUT DIR"),
    ],
)
def test_usage_is_written_as_manuals_write_it(command, usage):
    shown = CliRunner().invoke(app, [*command.split(), "-h"], prog_name="semret")
    assert shown.exit_code == 0
    assert shown.stdout.splitlines()[0] == f"Usage: semret {command} [OPTIONS] {usage}"


def test_help_names_no_types_of_python():
    shown = {command: CliRunner().invoke(app, [*command.split(), "-h"]).stdout for command in ("index", "query", "rsm")}
    assert "\n  PATH  Pictures, and folders of pictures, or addresses of such" in shown["index"]
    assert "\n  IMAGE  Pictures to search with" in shown["query"]
    assert "\n  --text <str> " in shown["query"]
    assert "\n  --kernel <cosine|linear|rbf> " in shown["rsm"]
    assert not any("list[" in text for text in shown.values())


@pytest.mark.parametrize("command", ["index x", "query x", "rerank --query x --candidates y", "eval cka"])
@pytest.mark.parametrize("device", ["gpu", "cuda0", "cuda:", ""])
def test_what_is_no_device_is_refused_before_anything_is_done(command, device):
    done = CliRunner().invoke(app, [*command.split(), "--device", device])
    assert done.exit_code == 2
    assert f"there is no device {device!r}; choose cpu, cuda, cuda:N or mps" in done.stderr


@pytest.mark.parametrize("command", ["query x", "rerank --query x --candidates y"])
def test_print0_goes_with_paths(command):
    done = CliRunner().invoke(app, [*command.split(), "--print0", "--format", "csv"])
    assert done.exit_code == 2
    assert "--print0: goes with --format paths" in done.stderr


@pytest.mark.parametrize(("typed", "found"), [("semret qu", "query"), ("semret index --model efficientnet-l", "lite0")])
def test_the_shell_completes(typed, found):
    words = {"COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1), "_SEMRET_COMPLETE": "complete_bash"}
    script = "import sys; sys.argv = ['semret']; import semret.__main__; semret.__main__.main()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env={**os.environ, **words})
    assert found in done.stdout


def test_columns_share_the_width():
    assert shared_widths([4, 6, 30], frozenset({0, 1}), 80) == [4, 6, 30]
    assert shared_widths([4, 6, 90], frozenset({0, 1}), 80) == [4, 6, 66]
    assert shared_widths([4, 15, 90, 90], frozenset({0}), 80) == [4, 15, 27, 28]
    assert shared_widths([4, 6, 90], frozenset({0, 1}), 20) is None
    assert shared_widths([40, 6], frozenset({0, 1}), 40) is None
