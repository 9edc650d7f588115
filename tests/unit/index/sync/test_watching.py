"""An index that follows its folders, in this process: what is taken over, what is waited for, what is said."""

import contextlib
import os
import queue
import shutil
import sys
import threading
import time

import pytest
import watchfiles

from semret.errors import ImageSearchError, IndexCorruptError, MissingDependencyError, StorageError
from semret.index.collection import open_collection
from semret.index.pictures.find import FoundImage
from semret.index.store.lock import WriterLock
from semret.index.sync import watching
from semret.index.sync.places import Mount, mounts_at, read_mounts, remote_kind
from semret.index.sync.report import SyncOptions
from semret.index.sync.settling import Settling, find_scopes
from semret.index.sync.sync import sync
from semret.index.sync.watching import Watch
from tests.support.networks import TinyBackbone
from tests.support.pictures import draw, encode

LONGEST = 30
"""Seconds that a test waits at most for what has to come."""


class Watched:
    """A watch in a thread; what it tells is waited for."""

    def __init__(self, index, paths, **options):
        self.reports, self.failures, self.notes = queue.Queue(), queue.Queue(), queue.Queue()
        self.loads = 0
        self.stop = threading.Event()
        self.error = None
        watch = Watch(index, paths, self._load, options=SyncOptions(**options), listener=self, stop=self.stop)
        self._thread = threading.Thread(target=self._run, args=(watch,), daemon=True)
        self._thread.start()

    def _run(self, watch):
        try:
            watch.run()
        except Exception as error:
            self.error = error

    def _load(self):
        self.loads += 1
        return TinyBackbone()

    def updated(self, report):
        self.reports.put(report)

    def failed(self, error):
        self.failures.put(error)

    def noted(self, line):
        self.notes.put(line)

    def bar(self):
        return contextlib.nullcontext()

    def wait(self, **counts):
        """Wait for the next update that changes anything; these counts are the only ones it has."""
        names = ("added", "updated", "renamed", "removed", "kept")
        while True:
            report = self.reports.get(timeout=LONGEST)
            found = {name: getattr(report, name) for name in names if getattr(report, name)}
            if found:
                assert found == counts
                return report

    def end(self):
        self.stop.set()
        self._thread.join(LONGEST)
        assert not self._thread.is_alive()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Wait for moments where a person's watch waits for seconds."""
    monkeypatch.setattr(watching, "SETTLE_SECONDS", 0.3)
    monkeypatch.setattr(watching, "LOOK_SECONDS", 0.05)


@pytest.fixture
def index(tmp_path):
    return tmp_path / ".semret"


@pytest.fixture
def start(index, photos):
    """Start a watch; by default of the six pictures, with the first update gone by."""
    started = []

    def begin(*paths, **options):
        for name in photos.glob("*.png"):
            os.utime(name, (1e9, 1e9))
        started.append(Watched(index, paths or (photos,), **options))
        return started[-1]

    yield begin
    for one in started:
        one.end()


def test_what_changes_is_taken_over_and_the_network_is_loaded_once(start, photos, index):
    watched = start()
    watched.wait(added=6)
    draw(20).save(photos / "new.png")
    assert watched.wait(added=1).unchanged == 6
    draw(21).save(photos / "new.png")
    watched.wait(updated=1)
    (photos / "sub").mkdir()
    (photos / "new.png").rename(photos / "sub" / "moved.png")
    assert watched.wait(renamed=1).embedded == 0
    (photos / "sub").rename(photos / "other")
    assert watched.wait(renamed=1).embedded == 0
    (photos / "0.png").unlink()
    watched.wait(removed=1)
    for number in range(100):
        draw(100 + number).save(photos / f"burst-{number}.png")
    added = 0
    while added < 100:
        added += watched.reports.get(timeout=LONGEST).added
    watched.end()
    assert (watched.loads, watched.error) == (1, None)
    with open_collection(index) as collection:
        assert len(collection) == 106


def test_what_concerns_no_picture_starts_nothing(start, photos, index):
    watched = start(exclude=("cache/",))
    watched.wait(added=6)
    (photos / "cache").mkdir()
    draw(30).save(photos / "cache/a.png")
    (photos / ".hidden").mkdir()
    draw(31).save(photos / ".hidden/a.png")
    (photos / "note.txt").write_text("no picture")
    draw(20).save(photos / "new.png")
    watched.wait(added=1)
    draw(32).save(photos / "cache/b.png")
    with contextlib.suppress(queue.Empty):
        assert watched.reports.get(timeout=1) is None


def test_an_index_inside_the_folder_does_not_set_itself_off(start, photos, tmp_path):
    watched = Watched(photos / "index", (photos,))
    watched.wait(added=6)
    draw(20).save(photos / "new.png")
    watched.wait(added=1)
    with pytest.raises(queue.Empty):
        watched.reports.get(timeout=1)
    watched.end()


def test_a_file_is_not_read_while_it_is_written(start, photos):
    watched = start()
    watched.wait(added=6)
    whole = encode(draw(40, (200, 200)), "BMP")
    with (photos / "slow.bmp").open("wb") as stream:
        for begin in range(0, len(whole), -(-len(whole) // 8)):
            stream.write(whole[begin : begin - (-len(whole) // 8)])
            stream.flush()
            time.sleep(0.15)
    report = watched.wait(added=1)
    assert report.skipped == ()
    assert watched.reports.empty()


def test_a_locked_index_is_waited_for_and_said(start, photos, index):
    watched = start()
    watched.wait(added=6)
    with WriterLock(index):
        draw(20).save(photos / "new.png")
        assert watched.notes.get(timeout=LONGEST).endswith("; waiting until it has finished")
        assert watched.reports.empty()
    watched.wait(added=1)
    assert watched.notes.empty()


def test_the_lock_is_held_for_updates_alone(start, photos, index):
    watched = start()
    watched.wait(added=6)
    with WriterLock(index):
        pass
    other = sync(index, [photos], TinyBackbone)
    assert other.unchanged == 6


def test_a_locked_index_is_waited_for_at_the_start_too(start, index, tiny_index):
    with WriterLock(index):
        watched = start()
        assert "is being written by process" in watched.notes.get(timeout=LONGEST)
    assert watched.reports.get(timeout=LONGEST).unchanged == 6


def test_an_update_that_fails_does_not_end_the_watch(start, photos, index, monkeypatch):
    watched = start()
    watched.wait(added=6)
    real = watching.sync

    def full(*args, **options):
        raise StorageError("cannot write: no space left on device")

    monkeypatch.setattr(watching, "sync", full)
    monkeypatch.setattr(watching, "RETRY_SECONDS", 0.2)
    draw(20).save(photos / "new.png")
    assert "no space" in str(watched.failures.get(timeout=LONGEST))
    time.sleep(0.5)
    assert watched.failures.empty()
    monkeypatch.setattr(watching, "sync", real)
    watched.wait(added=1)


def test_damage_is_said_and_its_repair_is_noticed(start, photos, index):
    watched = start()
    watched.wait(added=6)
    lock = index / "lock"
    lock.unlink()
    lock.symlink_to(photos / "0.png")
    draw(20).save(photos / "new.png")
    assert isinstance(watched.failures.get(timeout=LONGEST), IndexCorruptError)
    lock.unlink()
    draw(21).save(photos / "newer.png")
    watched.wait(added=2)


def test_a_folder_that_goes_and_comes_back(start, photos, tmp_path):
    watched = start()
    watched.wait(added=6)
    photos.rename(tmp_path / "away")
    assert watched.notes.get(timeout=LONGEST) == f"{photos} is not there; waiting for it"
    assert watched.wait(kept=6).kept_in == ((str(photos), 6),)
    draw(20).save(tmp_path / "away" / "new.png")
    (tmp_path / "away").rename(photos)
    assert watched.notes.get(timeout=LONGEST) == f"{photos} is there again"
    watched.wait(added=1)
    draw(21).save(photos / "newer.png")
    watched.wait(added=1)


def test_another_folder_in_the_place_of_one_is_seen(start, photos, tmp_path):
    watched = start()
    watched.wait(added=6)
    (tmp_path / "other").mkdir()
    draw(20).save(tmp_path / "other/new.png")
    os.utime(tmp_path / "other/new.png", (1e9, 1e9))
    photos.rename(tmp_path / "away")
    (tmp_path / "other").rename(photos)
    watched.wait(added=1, removed=6)


def test_an_empty_folder_waits_for_its_first_picture(start, photos, index):
    for name in photos.iterdir():
        name.unlink()
    watched = start()
    assert watched.notes.get(timeout=LONGEST) == f"there is no picture in {photos}; waiting for one"
    assert not index.exists()
    draw(20).save(photos / "first.png")
    watched.wait(added=1)


def test_a_path_that_is_not_there_at_the_start_is_an_error(start, tmp_path):
    watched = start(tmp_path / "nowhere")
    watched._thread.join(LONGEST)
    assert isinstance(watched.error, ImageSearchError)


def test_files_given_by_name_are_followed(start, photos):
    watched = start(photos / "0.png", photos / "1.png")
    watched.wait(added=2)
    draw(20).save(photos / "new.png")
    draw(21).save(photos / "0.png")
    watched.wait(updated=1)


def test_where_nothing_is_told_folders_are_looked_at(start, photos, monkeypatch):
    real = watchfiles.watch

    def deaf(*paths, force_polling, **options):
        if not force_polling:
            raise OSError("OS file watch limit reached")
        return real(*paths, force_polling=True, **options)

    monkeypatch.setattr(watchfiles, "watch", deaf)
    monkeypatch.setattr(watching, "POLL_SECONDS", 0.2)
    watched = start()
    assert "the system does not tell of them (OS file watch limit reached)" in watched.notes.get(timeout=LONGEST)
    watched.wait(added=6)
    draw(20).save(photos / "new.png")
    watched.wait(added=1)


def test_network_file_systems_are_looked_at(start, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(watching, "read_mounts", lambda: [Mount("/", "ext4"), Mount(str(tmp_path), "nfs4")])
    monkeypatch.setattr(watching, "POLL_SECONDS", 0.2)
    watched = start()
    assert watched.notes.get(timeout=LONGEST).endswith("nfs4 tells nothing of what others change")
    watched.wait(added=6)
    draw(20).save(photos / "new.png")
    watched.wait(added=1)


@pytest.mark.parametrize("what", ["many", "time"])
def test_everything_is_walked_when_something_may_have_been_missed(what, start, photos, monkeypatch):
    (photos / "deaf").mkdir()
    real = watchfiles.watch

    def forgetful(*paths, **options):
        for changes in real(*paths, **options):
            heard = {(kind, path) for kind, path in changes if "deaf" not in path}
            yield heard or set()

    monkeypatch.setattr(watchfiles, "watch", forgetful)
    if what == "time":
        monkeypatch.setattr(watching, "SURVEY_SECONDS", 1.0)
    watched = start()
    watched.wait(added=6)
    draw(20).save(photos / "deaf/unheard.png")
    if what == "many":
        monkeypatch.setattr(watching, "MANY", 3)
        (photos / "sub").mkdir()
        for number in range(3):
            draw(30 + number).save(photos / "sub" / f"{number}.png")
        added = 0
        while added < 4:
            added += watched.reports.get(timeout=LONGEST).added
    else:
        watched.wait(added=1)


def test_without_watchfiles_one_line_says_what_to_do(index, photos, monkeypatch):
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    with pytest.raises(MissingDependencyError, match="needs watchfiles, which is not installed; run pip"):
        Watch(index, [photos], TinyBackbone, options=SyncOptions(), listener=None, stop=threading.Event())


# -- the parts


def test_a_file_settles_when_it_has_stayed_the_same(tmp_path):
    now = [100.0]
    settling = Settling(2, lambda: now[0])
    file = tmp_path / "a.png"
    file.write_bytes(b"1")
    settling.touch(str(file))
    now[0] += 1.9
    assert not settling.is_settled(str(file))
    file.write_bytes(b"12")
    now[0] += 1
    assert not settling.is_settled(str(file))
    now[0] += 2
    assert settling.is_settled(str(file))
    status = file.stat()
    assert not settling.hold(FoundImage(str(file), status.st_size, status.st_mtime_ns))
    assert settling.held == set()


def test_what_nobody_told_of_is_held_if_it_is_fresh(tmp_path):
    settling = Settling(60)
    now = time.time_ns()
    assert settling.hold(FoundImage("/fresh", 1, now))
    assert not settling.hold(FoundImage("/old", 1, now - 61 * 10**9))
    # A clock that is ahead says nothing about when the file was written.
    assert not settling.hold(FoundImage("/ahead", 1, now + 3600 * 10**9))
    assert settling.held == {"/fresh"}


def test_what_settles_and_is_no_picture_is_let_go(tmp_path):
    now = [0.0]
    settling = Settling(1, lambda: now[0])
    (tmp_path / "empty.png").touch()
    settling.touch(str(tmp_path / "empty.png"))
    now[0] = 2
    settling.forget([str(tmp_path / "empty.png")])
    assert settling.held == set()


def test_scopes_are_the_folders_that_hold_changes(tmp_path):
    (tmp_path / "top/a/b").mkdir(parents=True)
    (tmp_path / "top/c").mkdir()
    top, file = str(tmp_path / "top"), str(tmp_path / "one.png")
    changed = [f"{top}/a/b/1.png", f"{top}/a/2.png", f"{top}/c/gone/deep/3.png", file, "/elsewhere/4.png"]
    assert find_scopes(changed, [top, file]) == {top: [f"{top}/a", f"{top}/c"], file: [file]}
    assert find_scopes([f"{top}/5.png", *changed[:1]], [top]) == {top: [top]}
    shutil.rmtree(top)
    assert find_scopes(changed[:1], [top]) == {top: [top]}


def test_what_kind_of_file_system_a_folder_lies_in(tmp_path):
    mounts = [
        Mount("/", "ext4"),
        Mount("/mnt/nas", "cifs"),
        Mount("/home", "xfs"),
        Mount("/home/me/cloud", "fuse.rclone"),
    ]
    assert remote_kind("/mnt/nas/photos", mounts) == "cifs"
    assert remote_kind("/home/you", mounts) is None
    assert remote_kind("/home/me", mounts) == "fuse.rclone"
    assert remote_kind("/var", [*mounts, Mount("/", "nfs4")]) == "nfs4"
    assert remote_kind("/anywhere", []) is None
    assert mounts_at("/home/me", mounts) == [Mount("/home", "xfs"), Mount("/home/me/cloud", "fuse.rclone")]
    assert read_mounts() == [] or any(mount.point == "/" for mount in read_mounts())
