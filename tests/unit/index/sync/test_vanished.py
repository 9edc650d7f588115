"""Folders that are gone as a whole, and what comes back; kinds that are not read; times that cannot be trusted."""

import os
import shutil
import time
from types import SimpleNamespace

import pytest

from semret.errors import ImageSearchError
from semret.index.care.maintain import compact, remove
from semret.index.care.repair import repair
from semret.index.care.transfer import export_index, import_index
from semret.index.care.verify import verify
from semret.index.collection import open_collection
from semret.index.pictures.files import SETTLED_NS, settled
from semret.index.summary import summarise
from semret.index.sync.estimate import estimate
from semret.index.sync.report import SyncOptions
from semret.index.sync.sync import sync

PAST = 1_500_000_000_000_000_000


@pytest.fixture
def lib(tmp_path, draw_picture):
    """A library: two pictures of its own, three of 2020 and three of 2021 on a drive."""
    folder = tmp_path / "lib"
    for seed, name in enumerate(
        ["a.png", "b.png", *(f"nas/{year}/{letter}.png" for year in (2020, 2021) for letter in "abc")]
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        draw_picture(seed).save(folder / name)
        os.utime(folder / name, ns=(PAST, PAST))
    return folder


@pytest.fixture
def index(tmp_path):
    return tmp_path / ".semret"


@pytest.fixture
def load(tiny_backbone):
    """A factory of networks that counts what went through all of them."""

    def make():
        made.append(tiny_backbone())
        return made[-1]

    made = []
    make.embedded = lambda: sum(network.embedded for network in made)
    return make


def counts(report):
    names = ("added", "updated", "renamed", "removed", "unchanged", "kept", "embedded")
    return {name: value for name in names if (value := getattr(report, name, 0))}


def forecast(index, paths, load, **options):
    """Return what an estimate tells, as `counts` of the report that the run would give."""
    return {
        name: value
        for name, value in counts(estimate(index, paths, load, options=SyncOptions(**options))).items()
        if value
    }


def ids(index):
    with open_collection(index) as collection:
        return dict(zip((path for path, _, _ in collection.files()), collection.ids.tolist(), strict=True))


def test_a_drive_that_is_away_for_one_run_costs_nothing(index, lib, load, tmp_path):
    sync(index, [lib], load)
    before = ids(index)
    (lib / "nas").rename(tmp_path / "away")
    (lib / "nas").mkdir()
    assert forecast(index, [lib], load) == {"unchanged": 2, "kept": 6}
    report = sync(index, [lib], load)
    assert counts(report) == {"unchanged": 2, "kept": 6}
    assert report.kept_in == ((str(lib / "nas"), 6),)
    assert report.as_json()["kept_in"] == [{"path": str(lib / "nas"), "images": 6}]
    assert (report.images, ids(index)) == (8, before)
    with open_collection(index) as collection:
        assert len(collection.tokens(collection.ids)) == 8
    (lib / "nas").rmdir()
    (tmp_path / "away").rename(lib / "nas")
    assert counts(sync(index, [lib], load)) == {"unchanged": 8}
    assert ids(index) == before
    assert load.embedded() == 8


@pytest.mark.parametrize("how", ["missing", "empty"])
@pytest.mark.parametrize("given", ["lib", "lib/nas", "lib/nas/2020"])
def test_a_folder_gone_as_a_whole_is_kept_until_pruned(how, given, index, lib, load):
    sync(index, [lib], load)
    shutil.rmtree(lib / "nas")
    if how == "empty":
        (lib / "nas" / "2020").mkdir(parents=True)
    top = lib.parent / given
    inside = 3 if given.endswith("2020") else 6
    unchanged = {"unchanged": 2} if given == "lib" else {}
    report = sync(index, [top], load)
    assert counts(report) == {**unchanged, "kept": inside}
    assert report.kept_in == ((str(lib / "nas" if given == "lib" else top), inside),)
    assert forecast(index, [top], load, prune=True) == {**unchanged, "removed": inside}
    assert counts(sync(index, [top], load, options=SyncOptions(prune=True))) == {**unchanged, "removed": inside}
    assert len(ids(index)) == 8 - inside


def test_a_year_that_is_gone_is_named_and_the_others_are_not(index, lib, load):
    sync(index, [lib], load)
    shutil.rmtree(lib / "nas" / "2020")
    (lib / "nas" / "2021" / "a.png").unlink()
    (lib / "b.png").unlink()
    report = sync(index, [lib], load)
    assert counts(report) == {"unchanged": 3, "removed": 2, "kept": 3}
    assert report.kept_in == ((str(lib / "nas" / "2020"), 3),)


def test_a_folder_with_other_pictures_in_it_is_not_gone(index, lib, load):
    sync(index, [lib], load)
    for file in (lib / "nas" / "2020").iterdir():
        file.unlink()
    (lib / "nas" / "2020" / "a.CR3").write_bytes(b"raw")
    assert counts(sync(index, [lib], load)) == {"unchanged": 5, "removed": 3}


def test_a_renamed_folder_is_renamed(index, lib, load):
    sync(index, [lib], load)
    before = ids(index)
    (lib / "nas").rename(lib / "disk")
    assert forecast(index, [lib], load) == {"unchanged": 2, "renamed": 6}
    assert counts(sync(index, [lib], load)) == {"unchanged": 2, "renamed": 6}
    assert {path.replace("/disk/", "/nas/"): id_ for path, id_ in ids(index).items()} == before
    assert load.embedded() == 8


def test_a_folder_whose_contents_all_lie_elsewhere_is_not_kept(index, lib, load):
    shutil.copytree(lib / "nas" / "2020", lib / "copy", copy_function=shutil.copy2)
    sync(index, [lib], load)
    shutil.rmtree(lib / "nas" / "2020")
    assert counts(sync(index, [lib], load)) == {"unchanged": 8, "removed": 3}
    shutil.rmtree(lib / "copy")
    assert counts(sync(index, [lib], load)) == {"unchanged": 5, "kept": 3}


def test_a_file_reached_by_another_name_is_not_gone(index, lib, load):
    (lib / "z").symlink_to(lib / "nas" / "2020")
    sync(index, [lib / "z"], load)
    assert counts(sync(index, [lib], load)) == {"added": 8, "removed": 3, "embedded": 5}


def test_a_missing_path_that_the_index_does_not_know_is_an_error(index, lib, load):
    with pytest.raises(ImageSearchError, match=r"there is no file or folder .*gone; give the path"):
        sync(index, [lib, lib / "gone"], load)
    assert not index.exists()
    sync(index, [lib], load)
    for attempt in (sync, estimate):
        with pytest.raises(ImageSearchError, match=r"there is no file or folder .*gone; give the path"):
            attempt(index, [lib, lib / "gone"], load)
    (lib / "a.png").unlink()
    report = sync(index, [lib / "a.png"], load)
    assert report.kept_in == ((str(lib / "a.png"), 1),)
    (lib / "none").mkdir()
    with pytest.raises(ImageSearchError, match=r"there is no picture in .*none; give a folder"):
        sync(index, [lib / "none"], load)


def test_what_is_not_read_is_counted_by_kind(index, lib, load):
    for name in ("a.CR2", "b.nef", "c.jxl", "d.mov", "e.MP4", "f.mp4", "g.psd", "h.svg", "i.txt", ".j.mov", "k.tga"):
        (lib / name).write_bytes(b"x")
    expected = {"JPEG XL": 1, "Photoshop": 1, "RAW": 2, "other pictures": 1, "vector graphics": 1, "video": 3}
    assert estimate(index, [lib], load).left_out == expected
    report = sync(index, [lib], load)
    assert (report.left_out, report.skipped) == (expected, ())
    assert report.as_json()["left_out"] == expected


def test_a_folder_of_other_kinds_says_so(index, lib, load):
    (lib / "films").mkdir()
    (lib / "films" / "a.mp4").write_bytes(b"x")
    with pytest.raises(ImageSearchError, match=r"no picture in .*films \(1 video not read\); give"):
        sync(index, [lib / "films"], load)


def test_removed_pictures_come_back_without_the_network(index, lib, load):
    sync(index, [lib], load)
    size = summarise(open_collection(index)).bytes
    remove(index, [lib])
    with open_collection(index) as collection:
        found = summarise(collection)
    assert (found.images, found.contents, found.rows, found.dead_rows) == (0, 0, 8, 8)
    assert verify(index).sound
    assert counts(sync(index, [lib], load)) == {"added": 8}
    assert load.embedded() == 8
    assert summarise(open_collection(index)).bytes <= size + 4096
    assert sorted(ids(index).values()) == list(range(9, 17))


def test_a_picture_that_was_changed_back_is_not_embedded_again(index, lib, load, draw_picture):
    sync(index, [lib], load)
    original = (lib / "a.png").read_bytes()
    draw_picture(99).save(lib / "a.png")
    assert counts(sync(index, [lib], load)) == {"updated": 1, "unchanged": 7, "embedded": 1}
    (lib / "a.png").write_bytes(original)
    assert counts(sync(index, [lib], load)) == {"updated": 1, "unchanged": 7}


def test_compaction_drops_what_no_image_has(index, lib, load):
    sync(index, [lib], load, options=SyncOptions(commit_rows=2, batch_size=1))
    remove(index, [lib / "nas"])
    report = compact(index)
    assert (report.segments_before, report.segments, report.dropped) == (4, 1, 6)
    assert counts(sync(index, [lib], load)) == {"added": 6, "unchanged": 2, "embedded": 6}
    remove(index, [lib])
    assert (compact(index).segments, verify(index).sound) == (0, True)


def test_features_without_an_image_survive_repair_and_the_journey(index, lib, load, tmp_path):
    sync(index, [lib], load)
    remove(index, [lib / "nas"])
    moved = import_index(export_index(index, tmp_path / "x.tar"), tmp_path / "there" / ".semret", root=tmp_path)
    assert verify(moved).sound
    assert counts(sync(moved, [lib], load)) == {"added": 6, "unchanged": 2}
    segment = index / "segments" / "000001.h5"
    raw = bytearray(segment.read_bytes())
    with open_collection(index) as collection:
        place = collection.segments[1].offsets["tokens"]
    row = 9 * 12 * 2
    raw[place + 5 * row] ^= 0xFF
    segment.write_bytes(raw)
    actions, report = repair(index)
    assert (actions, report.sound) == (["kept 7 of 8 pictures of 000001.h5, dropped the rest"], True)
    assert counts(sync(index, [lib], load)) == {"added": 6, "unchanged": 2, "embedded": 1}


def test_an_empty_index_is_filled_by_the_next_run(index, lib, load, monkeypatch):
    from semret.errors import StorageError
    from semret.index.sync.changes import Changes

    def full(changes):
        raise StorageError(f"no room for {changes}")

    with monkeypatch.context() as context:
        context.setattr(Changes, "commit", full)
        with pytest.raises(StorageError):
            sync(index, [lib], load)
    assert len(open_collection(index)) == 0
    assert forecast(index, [lib], load) == {"added": 8}
    assert counts(sync(index, [lib], load)) == {"added": 8, "embedded": 8}
    assert verify(index).sound


# What a dry run tells.


def test_a_dry_run_with_only_broken_files_pending_names_them(index, lib, load):
    sync(index, [lib], load)
    (lib / "broken.jpg").write_bytes(b"no picture")
    found = estimate(index, [lib], load)
    assert (found.added, found.to_embed, found.bytes, found.seconds) == (0, 0, 0, 0.0)
    assert [path for path, _ in found.skipped] == [str(lib / "broken.jpg")]
    os.utime(lib / "broken.jpg", ns=(PAST, PAST))
    sync(index, [lib], load)
    again = estimate(index, [lib], lambda: pytest.fail("the network is not needed"))
    assert (again.to_embed, again.skipped) == (0, found.skipped)


def test_a_dry_run_that_finds_no_picture_says_that_the_time_is_not_known(index, lib, load):
    for number in range(40):
        (lib / f"broken-{number:02}.jpg").write_bytes(bytes([number]))
    sync(index, [lib / "a.png"], load)
    found = estimate(
        index, [lib / f"broken-{number:02}.jpg" for number in range(40)], load, options=SyncOptions(batch_size=2)
    )
    assert (found.seconds, found.measured, len(found.skipped)) == (None, 0, 4)
    with pytest.raises(ImageSearchError, match="none of the 1 files found is a usable picture; the first, "):
        estimate(index.with_name("new"), [lib / "broken-00.jpg"], load)


def test_a_dry_run_tells_what_the_run_does(index, lib, load, draw_picture):
    sync(index, [lib], load)
    draw_picture(50).save(lib / "new.png")
    draw_picture(51).save(lib / "b.png")
    shutil.copy(lib / "a.png", lib / "copy.png")
    (lib / "nas" / "2020" / "a.png").rename(lib / "moved.png")
    (lib / "nas" / "2020" / "b.png").unlink()
    (lib / "nas" / "2021" / "a.png").write_bytes(b"no picture any more")
    expected = {"added": 2, "updated": 1, "renamed": 1, "removed": 2, "unchanged": 4}
    assert forecast(index, [lib], load) == expected
    assert estimate(index, [lib], load).to_embed == 2
    assert counts(sync(index, [lib], load)) == {**expected, "embedded": 2}


# Time stamps.


def test_a_time_stamp_counts_from_before_the_read():
    assert settled(0, SETTLED_NS + 1) == 0
    assert settled(1, SETTLED_NS + 1) == -1
    assert settled(5, 0) == -1


def test_a_file_rewritten_after_a_slow_read_is_noticed(index, lib, load, draw_picture, monkeypatch):
    """The batch takes an hour; the file was read in the very second it was written, and changed in that second."""
    from semret.index.pictures import files

    file = lib / "new.bmp"
    draw_picture(76).save(file)
    written = file.stat().st_mtime_ns
    clock = SimpleNamespace(time_ns=lambda: written + 10**8, monotonic=time.monotonic)
    monkeypatch.setattr(files, "time", clock)
    monkeypatch.setattr(time, "time_ns", lambda: written + 3600 * 10**9)
    sync(index, [lib], load)
    draw_picture(77).save(file)
    os.utime(file, ns=(written, written))
    assert counts(sync(index, [lib], load)) == {"updated": 1, "unchanged": 8, "embedded": 1}


def test_a_file_server_whose_clock_is_behind_is_not_believed(index, lib, load, draw_picture):
    """Its stamps are two minutes old when they are fresh."""
    file = lib / "new.bmp"
    draw_picture(76).save(file)
    stamp = file.stat().st_mtime_ns - 120 * 10**9
    os.utime(file, ns=(stamp, stamp))
    sync(index, [lib], load)
    draw_picture(77).save(file)
    os.utime(file, ns=(stamp, stamp))
    assert counts(sync(index, [lib], load)) == {"updated": 1, "unchanged": 8, "embedded": 1}
