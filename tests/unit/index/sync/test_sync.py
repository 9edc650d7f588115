"""Bringing an index up to date: what is read, embedded, kept, renamed, removed and refused."""

import os
import shutil
import threading

import numpy as np
import pytest

from semret.errors import (
    ArgumentError,
    BackboneError,
    ImageSearchError,
    IncompatibleIndexError,
    IndexCorruptError,
    IndexLockedError,
)
from semret.index.care.maintain import compact, remove
from semret.index.collection import open_collection
from semret.index.model_choice import ModelChoice
from semret.index.pictures.files import hash_file
from semret.index.store.lock import WriterLock
from semret.index.sync import loading
from semret.index.sync.estimate import estimate
from semret.index.sync.report import SyncOptions
from semret.index.sync.sync import sync
from tests.support.pictures import LONG_AGO, age


@pytest.fixture
def index(tmp_path):
    return tmp_path / ".semret"


@pytest.fixture
def networks(tiny_backbone):
    """A factory that counts what it loads, and the list of what it loaded."""
    loaded = []

    def load():
        loaded.append(tiny_backbone())
        return loaded[-1]

    return load, loaded


def counts(report):
    names = ("added", "updated", "renamed", "removed", "unchanged", "embedded")
    return {name: value for name in names if (value := getattr(report, name))}


def ids(index):
    with open_collection(index) as collection:
        return {
            os.path.basename(path): id_  # noqa: PTH119
            for (path, _, _), id_ in zip(collection.files(), collection.ids.tolist(), strict=True)
        }


def test_a_first_run_takes_everything(index, photos, networks):
    load, loaded = networks
    (photos / "broken.jpg").write_bytes(b"no picture")
    report = sync(index, [photos], load)
    assert counts(report) == {"added": 6, "embedded": 6}
    assert (report.images, report.model, report.index) == (6, "tiny", str(index))
    assert [path for path, _ in report.skipped] == [str(photos / "broken.jpg")]
    assert "no picture in a supported format" in report.skipped[0][1]
    assert report.bytes == sum(file.stat().st_size for file in index.rglob("*") if file.is_file())
    assert report.bytes_per_image == report.bytes / 6
    assert len(loaded) == 1
    document = report.as_json()
    assert document["skipped"] == [{"path": str(photos / "broken.jpg"), "reason": report.skipped[0][1]}]
    expected = {"index", "model", "images", "added", "updated", "removed", "unchanged", "skipped", "seconds", "bytes"}
    assert expected <= set(document)


def test_an_unchanged_folder_loads_nothing_and_writes_nothing(index, photos, networks, monkeypatch):
    load, loaded = networks
    (photos / "broken.jpg").write_bytes(b"no picture")
    age(photos)
    sync(index, [photos], load)
    before = {file: file.stat().st_mtime_ns for file in index.rglob("*") if file.name != "lock"}
    monkeypatch.setattr(loading, "read_file", None)
    report = sync(index, [photos], load)
    assert counts(report) == {"unchanged": 6}
    assert len(report.skipped) == 1
    assert len(loaded) == 1
    assert {file: file.stat().st_mtime_ns for file in index.rglob("*") if file.name != "lock"} == before


def test_a_touched_file_is_read_but_not_embedded(index, photos, networks):
    load, loaded = networks
    age(photos)
    sync(index, [photos], load)
    before = ids(index)
    os.utime(photos / "2.png", ns=(LONG_AGO * 10**9 + 1,) * 2)
    assert counts(sync(index, [photos], load)) == {"unchanged": 6}
    assert ids(index) == before
    assert len(loaded) == 1


def test_a_file_changed_within_its_time_stamp_is_noticed(index, photos, networks, draw_picture):
    load, _ = networks
    file = photos / "new.bmp"
    draw_picture(76).save(file)
    sync(index, [photos], load)
    before = file.stat()
    draw_picture(77).save(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert counts(sync(index, [photos], load))["updated"] == 1


def test_a_changed_file_gets_a_new_id(index, photos, networks, draw_picture):
    load, loaded = networks
    sync(index, [photos], load)
    before = ids(index)
    draw_picture(77).save(photos / "2.png")
    report = sync(index, [photos], load)
    assert counts(report) == {"updated": 1, "unchanged": 5, "embedded": 1}
    assert ids(index) == {**before, "2.png": 7}
    assert len(loaded) == 2


def test_a_renamed_file_keeps_its_id_without_a_network(index, photos, networks):
    load, loaded = networks
    sync(index, [photos], load)
    before = ids(index)
    (photos / "2.png").rename(photos / "z.png")
    (photos / "3.png").rename(photos / "2.png")
    report = sync(index, [photos], load)
    assert report.removed == 0
    assert ids(index)["z.png"] == before["2.png"]
    assert len(loaded) == 1


def test_a_file_moved_between_folders_keeps_its_id(index, photos, tmp_path, networks):
    load, loaded = networks
    sync(index, [photos], load)
    before = ids(index)
    (tmp_path / "elsewhere").mkdir()
    (photos / "2.png").rename(tmp_path / "elsewhere" / "moved.png")
    assert counts(sync(index, [tmp_path / "elsewhere"], load)) == {"renamed": 1}
    assert ids(index)["moved.png"] == before["2.png"]
    assert len(loaded) == 1
    assert counts(sync(index, [photos], load)) == {"unchanged": 5}


def test_copies_are_stored_once_and_are_images_of_their_own(index, photos, networks):
    load, loaded = networks
    shutil.copy(photos / "2.png", photos / "copy.png")
    report = sync(index, [photos], load)
    assert counts(report) == {"added": 7, "embedded": 6}
    shutil.copy(photos / "2.png", photos / "later.png")
    assert counts(sync(index, [photos], load)) == {"added": 1, "unchanged": 7}
    assert loaded[0].embedded == 6
    with open_collection(index) as collection:
        twins = [collection.find_path(photos / name) for name in ("2.png", "copy.png", "later.png")]
        assert len(set(twins)) == 3
        assert sum(segment.rows for segment in collection.segments.values()) == 6
        nearest = collection.shortlist(collection.features.pooled[collection.rows(twins[:1])], 3)
        assert nearest.ids[0].tolist() == sorted(twins)
    (photos / "2.png").unlink()
    assert counts(sync(index, [photos], load)) == {"removed": 1, "unchanged": 7}
    assert ids(index)["copy.png"] == twins[1]


def test_vanished_files_go_and_others_stay(index, photos, tmp_path, networks, draw_picture):
    load, _ = networks
    (tmp_path / "other").mkdir()
    draw_picture(40).save(tmp_path / "other" / "o.png")
    sync(index, [photos, tmp_path / "other"], load)
    before = ids(index)
    (photos / "0.png").unlink()
    (tmp_path / "other" / "o.png").unlink()
    assert counts(sync(index, [photos], load)) == {"removed": 1, "unchanged": 5}
    assert ids(index) == {name: id_ for name, id_ in before.items() if name != "0.png"}


def test_an_image_that_becomes_unreadable_is_removed_and_named(index, photos, networks, draw_picture):
    load, _ = networks
    sync(index, [photos], load)
    (photos / "1.png").write_bytes(b"\x89PNG and no more")
    report = sync(index, [photos], load)
    assert counts(report) == {"removed": 1, "unchanged": 5}
    assert [path for path, _ in report.skipped] == [str(photos / "1.png")]
    draw_picture(1).save(photos / "1.png")
    report = sync(index, [photos], load)
    # The same picture as before: its features are still there.
    assert counts(report) == {"added": 1, "unchanged": 5}
    assert report.skipped == ()
    assert ids(index)["1.png"] == 7


def test_a_folder_that_cannot_be_entered_has_not_vanished(index, photos, networks, draw_picture, monkeypatch):
    from semret.index.pictures.find import SkippedPath
    from semret.index.sync import survey

    load, _ = networks
    (photos / "sub").mkdir()
    draw_picture(40).save(photos / "sub" / "s.png")
    sync(index, [photos], load)
    walk = survey.find_images

    def closed(paths, **options):
        for found in walk(paths, **options):
            if "sub" not in found.path:
                yield found
        yield SkippedPath(str(photos / "sub"), "folder cannot be read: permission denied")

    monkeypatch.setattr(survey, "find_images", closed)
    report = sync(index, [photos], load)
    assert counts(report) == {"unchanged": 6}
    assert report.skipped == ((str(photos / "sub"), "folder cannot be read: permission denied"),)
    assert "s.png" in ids(index)


@pytest.mark.parametrize("content", ["nothing", "no picture", "broken"])
def test_a_first_run_that_embeds_nothing_makes_no_index(content, index, tmp_path, networks):
    folder = tmp_path / "folder"
    folder.mkdir()
    if content == "no picture":
        (folder / "notes.txt").write_text("words")
    elif content == "broken":
        (folder / "broken.jpg").write_bytes(b"no picture")
    message = (
        "none of the 1 files found is a usable picture; the first, .*broken.jpg: is no"
        if content == "broken"
        else ("there is no picture in .*folder; give a folder with pictures")
    )
    with pytest.raises(ImageSearchError, match=message):
        sync(index, [folder], networks[0])
    assert not index.exists()


def test_an_empty_folder_does_not_empty_an_index(index, photos, networks):
    sync(index, [photos], networks[0])
    shutil.rmtree(photos)
    photos.mkdir()
    report = sync(index, [photos], networks[0])
    assert counts(report) == {}
    assert (report.images, report.kept, report.kept_in) == (6, 6, ((str(photos), 6),))
    assert len(ids(index)) == 6


def test_another_model_is_refused_before_anything_is_done(index, photos, networks, tiny_backbone, draw_picture):
    sync(index, [photos], networks[0])
    before = ids(index)
    draw_picture(40).save(photos / "new.png")
    with pytest.raises(IncompatibleIndexError, match=r"weights_sha256 is .* in the index"):
        sync(index, [photos], lambda: tiny_backbone(seed=1))
    with pytest.raises(IncompatibleIndexError, match="stores tokens as float16, not float32"):
        sync(index, [photos], networks[0], options=SyncOptions(dtype="float32"))
    assert ids(index) == before


@pytest.mark.parametrize(
    ("choice", "complaint"),
    [
        ({"model": "dinov2"}, "model is tiny in the index, dinov2 was asked for"),
        ({"size": (32, 24)}, "size is 24x24 in the index, 32x24 was asked for"),
        ({"geometry": "crop"}, "geometry is squash in the index, crop was asked for"),
        ({"layer": -2}, "layer is last in the index, -2 was asked for"),
        ({"autocast": "bfloat16"}, "precision is float32 in the index, bfloat16 was asked for"),
    ],
)
def test_a_choice_that_differs_from_the_index_is_refused_without_a_network(choice, complaint, tiny_index):
    with pytest.raises(IncompatibleIndexError, match=complaint):
        ModelChoice(**choice).loader(tiny_index)


def test_a_choice_that_agrees_with_the_index_is_taken(tiny_index):
    same = ModelChoice(model="tiny", size=(24, 24), geometry="squash", layer="last", autocast="float32")
    assert callable(same.loader(tiny_index))


def test_values_beyond_float16_ask_for_float32(index, photos, tiny_backbone):
    loud = tiny_backbone("loud", scale=1e6)
    with pytest.raises(
        BackboneError, match=r"values up to \S+ for .*0\.png, beyond the range of float16; index with --dtype"
    ):
        sync(index, [photos], lambda: loud)
    assert not index.exists() or not (index / "manifest.json").exists() or len(open_collection(index)) == 0
    report = sync(index.with_name("wide"), [photos], lambda: loud, options=SyncOptions(dtype="float32"))
    assert report.images == 6
    with open_collection(index.with_name("wide")) as collection:
        assert collection.tokens([1]).dtype == np.float32
        assert np.abs(collection.tokens([1])).max() > 65504


def test_a_network_that_gives_nan_is_named(index, photos, tiny_backbone):
    broken = tiny_backbone(scale=np.nan)
    with pytest.raises(BackboneError, match=r"tiny gave NaN or infinity for .*0\.png"):
        sync(index, [photos], lambda: broken)


def test_stopping_keeps_what_is_done(index, photos, networks):
    load, _ = networks
    seen = []

    def stop():
        seen.append(True)
        return len(seen) == 3

    report = sync(index, [photos], load, options=SyncOptions(batch_size=2, workers=1), stop=stop)
    assert report.interrupted
    assert report.images == len(ids(index)) == 3
    report = sync(index, [photos], load)
    assert not report.interrupted
    assert counts(report) == {"added": 3, "unchanged": 3, "embedded": 3}
    assert ids(index) == {f"{number}.png": number + 1 for number in range(6)}


def test_progress_counts_the_files_that_are_read(index, photos, networks):
    calls = []
    sync(index, [photos], networks[0], progress=lambda done, total: calls.append((done, total)))
    assert calls == [(number, 6) for number in range(7)]


def test_two_writers_do_not_meet(index, photos, networks):
    sync(index, [photos], networks[0])
    with WriterLock(index), pytest.raises(IndexLockedError, match="is being written by process"):
        sync(index, [photos], networks[0])


def test_what_killed_writers_left_is_cleaned_and_never_data(index, photos, networks):
    load, _ = networks
    sync(index, [photos], load)
    before = {file.name for file in index.rglob("*")}
    shutil.copy(index / "segments" / "000001.h5", index / "segments" / "000077.h5")
    for name in ("segments/000078.h5.tmp", "manifest.json.tmp", "shortlist.faiss.tmp", "catalog.sha256.tmp"):
        (index / name).write_bytes(b"half")
    assert len(open_collection(index)) == 6
    sync(index, [photos], load)
    assert {file.name for file in index.rglob("*")} == before


def test_an_index_that_lost_its_manifest_is_not_overwritten(index, photos, networks):
    sync(index, [photos], networks[0])
    (index / "manifest.json").unlink()
    with pytest.raises(IndexCorruptError, match=r"holds segments but no manifest\.json"):
        sync(index, [photos], networks[0])
    assert len(list((index / "segments").iterdir())) == 1


def test_a_moved_folder_goes_on_under_a_new_root(index, photos, tmp_path, networks):
    load, loaded = networks
    index = tmp_path / "far" / "away" / "index"
    age(photos)
    sync(index, [photos], load)
    before = ids(index)
    shutil.move(photos, tmp_path / "moved")
    report = sync(index, [tmp_path / "moved"], load, options=SyncOptions(root=tmp_path / "moved"))
    assert counts(report) == {"unchanged": 6}
    assert ids(index) == before
    assert len(loaded) == 1


def test_an_index_beside_its_photos_moves_with_them(tmp_path, photos, networks):
    load, loaded = networks
    age(photos)
    sync(tmp_path / ".semret", [photos], load)
    home = tmp_path.with_name(tmp_path.name + "-moved")
    home.mkdir()
    for part in ("photos", ".semret"):
        shutil.move(tmp_path / part, home / part)
    assert open_collection(home / ".semret").paths([1]) == [str(home / "photos" / "0.png")]
    assert counts(sync(home / ".semret", [home / "photos"], load)) == {"unchanged": 6}
    assert len(loaded) == 1


@pytest.mark.parametrize(
    "name", ["new\nline.png", "quote'\".png", "émoji 🎨.png", b"latin-\xe9.png", "tab\t\x1b[31m.png"]
)
def test_any_name_is_kept_exactly(name, index, photos, networks):
    path = os.path.join(os.fsencode(photos), os.fsencode(name))  # noqa: PTH118
    os.rename(photos / "0.png", path)  # noqa: PTH104
    sync(index, [photos], networks[0])
    with open_collection(index) as collection:
        assert os.fsencode(path) in [os.fsencode(file) for file, _, _ in collection.files()]
        assert collection.find_path(os.fsdecode(path)) is not None
        assert collection.find_hash(hash_file(os.fsdecode(path))) == collection.find_path(os.fsdecode(path))


def test_removal_is_of_what_is_named_only(index, photos, networks):
    load, _ = networks
    (photos / "broken.jpg").write_bytes(b"no picture")
    sync(index, [photos], load)
    report = remove(index, [photos / "1.png", photos / "broken.jpg"])
    assert (report.removed, report.images) == (1, 5)
    with open_collection(index) as collection:
        assert collection.skipped == []
    with pytest.raises(ArgumentError, match=r"has nothing at or below .*1.png; nothing was removed"):
        remove(index, [photos / "0.png", photos / "1.png"])
    assert len(ids(index)) == 5
    assert (photos / "1.png").exists()
    assert counts(sync(index, [photos], load)) == {"added": 1, "unchanged": 5}
    assert ids(index)["1.png"] == 7
    assert remove(index, [photos]).images == 0
    assert len(open_collection(index)) == 0
    assert open_collection(index).shortlist(np.zeros((1, 12)), 5).ids.shape == (1, 0)


def test_compaction_joins_and_drops_and_changes_nothing_else(index, photos, networks, index_contents):
    sync(index, [photos], networks[0], options=SyncOptions(commit_rows=1, batch_size=1))
    remove(index, [photos / "0.png"])
    before = index_contents(index)
    report = compact(index)
    assert (report.segments_before, report.segments, report.dropped) == (6, 1, 1)
    assert index_contents(index) == before
    remove(index, [photos / "3.png"])
    report = compact(index)
    assert (report.segments_before, report.segments, report.dropped) == (1, 1, 1)
    again = compact(index)
    assert (again.segments, again.dropped, again.bytes) == (1, 0, report.bytes)


def test_an_estimate_is_what_the_run_takes(index, photos, networks, draw_picture):
    load, loaded = networks
    for seed in range(100, 160):
        draw_picture(seed).save(photos / f"{seed}.png")
    found = estimate(index, [photos], load, options=SyncOptions(batch_size=4))
    assert (found.images, found.to_embed, found.measured) == (66, 66, 8)
    assert not index.exists()
    sync(index, [photos], load)
    with open_collection(index) as collection:
        stored = sum(segment.bytes for segment in collection.segments.values())
    assert found.bytes == pytest.approx(stored + 66 * (4 * 12 + 400), rel=0.2)
    assert estimate(index, [photos], load).to_embed == 0
    assert len(loaded) == 2


@pytest.mark.parametrize(
    ("options", "complaint"),
    [({"batch_size": 0}, "batch_size is 0, expected at least 1"), ({"dtype": "int8"}, "cannot be stored as 'int8'")],
)
def test_unfit_options_are_named(options, complaint):
    with pytest.raises(ArgumentError, match=complaint):
        SyncOptions(**options)


def test_the_network_is_loaded_once_by_many_threads(tiny_backbone):
    from semret.index.sync.pipeline import Lazy

    loaded = []
    lazy = Lazy(lambda: loaded.append(1) or tiny_backbone())
    threads = [threading.Thread(target=lazy.get) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loaded == [1]
