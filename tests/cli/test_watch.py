"""``semret index --watch`` as a person has it: a process in a terminal, pictures that come and go, and its end."""

import json
import os
import re
import signal
import subprocess
import threading

import pytest

from semret.index.care.verify import verify
from semret.index.collection import open_collection
from semret.index.store.lock import WriterLock
from semret.index.sync.sync import sync
from tests.support.networks import TinyBackbone
from tests.support.pictures import draw
from tests.support.places import with_root
from tests.support.processes import command_of

WATCHING = "Ctrl-C ends it"
wide = pytest.mark.parametrize("columns", [120], indirect=True)


def lines(text):
    """Return a pattern of a line that tells of an update."""
    return re.compile(rf"^\d\d:\d\d:\d\d {text}$", re.MULTILINE).search


@pytest.fixture
def process(tmp_path):
    """Start ``semret index`` without a terminal; what it prints comes line by line."""
    started = []

    def start(*arguments, embed=0):
        command = [*command_of("cli_driver"), "0", str(embed), "index", *map(str, arguments)]
        environment = with_root({**os.environ, "SEMRET_INDEX": ".semret"})
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, cwd=tmp_path, env=environment, **pipes))
        return started[-1]

    yield start
    for one in started:
        if one.poll() is None:
            one.kill()
        one.communicate()


@wide
def test_a_story(terminal, photos, tmp_path):
    run = terminal("index", "photos", "--watch")
    run.wait_for(WATCHING)
    assert "6 images in" in run.screen
    draw(20).save(photos / "new.png")
    run.wait_for(lines("1 added; 7 images"))
    draw(21).save(photos / "new.png")
    run.wait_for(lines("1 updated; 7 images"))
    (photos / "sub").mkdir()
    (photos / "new.png").rename(photos / "sub" / "moved.png")
    run.wait_for(lines("1 renamed; 7 images"))
    (photos / "0.png").unlink()
    run.wait_for(lines("1 removed; 6 images"))
    for number in range(100):
        draw(100 + number).save(photos / f"{100 + number}.png")
    run.wait_for(lines(r"\d+ added; 106 images"))
    (photos / "broken.png").write_bytes(b"no picture")
    run.wait_for(lambda screen: f"skipped {photos / 'broken.png'}: is no picture" in screen.replace("\n", ""))
    run.interrupt()
    assert run.end() == 0
    assert re.search(r"^watched for .*: \d+ updates, 107 added, 1 updated, 1 renamed, 1 removed; 106", run.screen, re.M)
    report = sync(tmp_path / ".semret", [photos], TinyBackbone)
    assert (report.unchanged, report.embedded, len(report.skipped)) == (106, 0, 1)


@wide
def test_another_writer_is_waited_for(terminal, photos, tmp_path):
    run = terminal("index", "photos", "--watch")
    run.wait_for(WATCHING)
    with WriterLock(tmp_path / ".semret"):
        draw(20).save(photos / "new.png")
        run.wait_for("waiting until it has finished")
    run.wait_for(lines("1 added; 7 images"))
    os.kill(run.child.pid, signal.SIGTERM)
    assert run.end() == 0
    assert "watched for " in run.screen


@wide
def test_a_folder_that_goes_and_comes_back(terminal, photos, tmp_path):
    run = terminal("index", "photos", "--watch")
    run.wait_for(WATCHING)
    photos.rename(tmp_path / "away")
    run.wait_for(f"{photos} is not there; waiting for it")
    run.wait_for(lambda screen: f"kept 6 images of {photos}, which is missing or empty" in screen.replace("\n", ""))
    (tmp_path / "away").rename(photos)
    run.wait_for(f"{photos} is there again")
    draw(20).save(photos / "new.png")
    run.wait_for(lines("1 added; 7 images"))
    run.interrupt()
    assert run.end() == 0


def test_json_is_a_line_an_update(process, photos):
    watch = process("photos", "--watch", "--format", "json")
    first = json.loads(watch.stdout.readline())
    assert (first["event"], first["added"], first["images"]) == ("update", 6, 6)
    draw(20).save(photos / "new.png")
    second = json.loads(watch.stdout.readline())
    assert (second["event"], second["added"], second["images"]) == ("update", 1, 7)
    watch.send_signal(signal.SIGTERM)
    last = json.loads(watch.stdout.readline())
    assert watch.wait(30) == 0
    wanted = {"event": "end", "updates": 2, "added": 7, "removed": 0, "embedded": 7, "images": 7}
    assert wanted.items() <= last.items()
    assert watch.stdout.read() == ""


def test_a_kill_in_the_middle_of_a_burst_loses_nothing_that_was_committed(process, photos, tmp_path):
    watch = process("photos", "--watch", "--format", "jsonl", "--batch-size", 1, embed=0.05)
    assert json.loads(watch.stdout.readline())["images"] == 6
    for number in range(100):
        draw(100 + number).save(photos / f"{100 + number}.png")
    # The last of them is on its way into the network; some may be committed.
    threading.Event().wait(2.5)
    watch.kill()
    assert watch.wait(30) == -signal.SIGKILL
    with open_collection(tmp_path / ".semret") as collection:
        assert len(collection) >= 6
    sync(tmp_path / ".semret", [photos], TinyBackbone)
    assert verify(tmp_path / ".semret", files=True).defects == ()
    with open_collection(tmp_path / ".semret") as collection:
        assert len(collection) == 106


def test_an_interrupt_in_an_update_keeps_what_is_done(process, photos):
    watch = process("photos", "--watch", "--batch-size", 1, "--workers", 1, embed=0.3)
    assert "6 added" in watch.stdout.readline()
    for number in range(30):
        draw(100 + number).save(photos / f"{100 + number}.png")
    threading.Event().wait(2.5)
    watch.send_signal(signal.SIGINT)
    out, err = watch.communicate(timeout=60)
    assert watch.returncode == 0
    assert "watched for " in out
    assert "Traceback" not in err


@pytest.mark.parametrize("option", ["--dry-run", "--strict"])
def test_options_for_one_run_are_refused(process, photos, option):
    watch = process("photos", "--watch", option)
    _, err = watch.communicate(timeout=60)
    assert watch.returncode == 2
    assert "does not go with --dry-run and --strict" in " ".join(err.split())


def test_a_folder_that_is_not_there_is_an_error(process):
    watch = process("nowhere", "--watch")
    _, err = watch.communicate(timeout=60)
    assert (watch.returncode, err.count("\n")) == (1, 1)
    assert "there is no file or folder" in err
