"""Patterns of what is left out of an index: given, remembered, forgotten."""

import json
import shutil

import pytest

from semret.errors import ArgumentError, ImageSearchError, IndexCorruptError
from semret.index.care.repair import repair
from semret.index.care.transfer import export_index, import_index
from semret.index.care.verify import verify
from semret.index.collection import open_collection
from semret.index.store.excluded_file import EXCLUDED_NAME, read_excluded
from semret.index.summary import summarise
from semret.index.sync.estimate import estimate
from semret.index.sync.report import Excluded, SyncOptions
from semret.index.sync.sync import sync
from semret.index.writer import IndexWriter
from tests.support.networks import TinyBackbone
from tests.support.pictures import draw, draw_into


@pytest.fixture
def index(tmp_path):
    return tmp_path / ".semret"


@pytest.fixture
def album(photos):
    """The six pictures, and two in a folder ``raw``."""
    draw_into(photos / "raw", [10, 11])
    return photos


def run(index, *paths, load=TinyBackbone, **options):
    return sync(index, paths, load, options=SyncOptions(**options))


def names(index):
    with open_collection(index) as collection:
        return sorted(path.rpartition("photos/")[2] for path, _, _ in collection.files())


def never():
    raise AssertionError("the network is not needed")


def test_what_is_excluded_is_left_out_counted_and_remembered(index, album):
    report = run(index, album, exclude=("raw/", "5.png"))
    assert report.excluded == Excluded(("raw/", "5.png"), files=1, folders=1)
    assert names(index) == [f"{number}.png" for number in range(5)]
    again = run(index, album, load=never)
    assert (again.unchanged, again.excluded) == (5, report.excluded)
    with open_collection(index) as collection:
        assert summarise(collection).as_json()["excluded"] == ["raw/", "5.png"]


def test_images_that_match_now_are_taken_out_and_come_back_without_being_embedded(index, album):
    run(index, album)
    report = run(index, album, load=never, exclude=("raw/",))
    assert (report.removed, report.unchanged, report.excluded.images) == (2, 6, 2)
    back = run(index, album, load=never, no_exclude=True)
    assert (back.added, back.embedded, back.excluded) == (2, 0, Excluded())
    assert read_excluded(index) == ()
    assert not (index / EXCLUDED_NAME).exists()


def test_patterns_add_up_and_are_replaced_together_with_no_exclude(index, album):
    run(index, album, exclude=("raw/",))
    assert run(index, album, exclude=("5.png", "raw/")).excluded.patterns == ("raw/", "5.png")
    report = run(index, album, exclude=("0.png",), no_exclude=True)
    assert report.excluded.patterns == ("0.png",)
    assert names(index) == ["1.png", "2.png", "3.png", "4.png", "5.png", "raw/10.png", "raw/11.png"]


def test_a_pattern_with_a_slash_holds_whichever_folder_is_indexed_later(index, album, tmp_path):
    run(index, album, exclude=("/raw/1?.png",))
    with pytest.raises(ImageSearchError, match=r"no picture in .*raw .*2 files and 0 folders excluded"):
        run(index, album / "raw")
    run(index, tmp_path)
    assert names(index) == [f"{number}.png" for number in range(6)]


def test_patterns_move_with_the_photos(index, album, tmp_path):
    run(index, album, exclude=("raw/10.png",))
    (tmp_path / "new").mkdir()
    shutil.move(index, tmp_path / "new")
    shutil.move(album, tmp_path / "new")
    report = run(tmp_path / "new/.semret", tmp_path / "new/photos", load=never)
    assert (report.unchanged, report.excluded.files) == (7, 1)


def test_images_of_a_missing_folder_that_are_excluded_are_not_kept(index, album):
    run(index, album)
    shutil.rmtree(album / "raw")
    assert run(index, album, load=never).kept == 2
    report = run(index, album, load=never, exclude=("raw/",))
    assert (report.removed, report.kept, report.excluded.images) == (2, 0, 2)


def test_a_folder_that_holds_excluded_pictures_is_not_empty(index, album):
    (album / "raw/more").mkdir()
    draw(12).save(album / "raw/more/12.png")
    run(index, album, exclude=("1?.png",))
    run(index, album, no_exclude=True)
    (album / "raw/10.png").unlink()
    (album / "raw/more/12.png").unlink()
    report = run(index, album, load=never, exclude=("11.png",))
    # `more` is empty as a whole, its picture is kept; `raw` is not.
    assert (report.removed, report.kept) == (2, 1)


def test_a_dry_run_counts_and_remembers_nothing(index, album):
    run(index, album)
    found = estimate(index, [album], never, options=SyncOptions(exclude=("raw/",)))
    assert (found.removed, found.excluded) == (2, Excluded(("raw/",), folders=1, images=2))
    assert json.loads(json.dumps(found.as_json()["excluded"])) == {
        "patterns": ["raw/"],
        "files": 0,
        "folders": 1,
        "images": 2,
    }
    assert read_excluded(index) == ()


def test_nothing_is_left_where_no_index_is_made(index, album):
    with pytest.raises(ImageSearchError, match="0 files and 1 folder excluded"):
        run(index, album, exclude=("photos/",))
    assert not index.exists()
    shutil.rmtree(album)
    album.mkdir()
    (album / "broken.png").write_bytes(b"no picture")
    with pytest.raises(ImageSearchError, match="none of the 1 files"):
        run(index, album, exclude=("raw/",))
    assert not index.exists()


def test_a_run_that_is_killed_before_the_manifest_leaves_no_pattern_to_a_later_one(index, album, faults):
    index.mkdir()
    (index / EXCLUDED_NAME).write_text('{"exclude": [{"folder": null, "pattern": "*.png"}]}')
    assert run(index, album).added == 8
    assert read_excluded(index) == ()


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"exclude": [{"folder": 1, "pattern": "a"}]}', '{"exclude": [{"folder": null, "pattern": "["}]}'],
)
def test_a_damaged_file_is_said_in_one_line_and_can_be_forgotten(index, album, content):
    run(index, album, exclude=("raw/",))
    (index / EXCLUDED_NAME).write_text(content)
    with pytest.raises(IndexCorruptError, match=r"excluded\.json is damaged; take it away and give the patterns again"):
        run(index, album)
    assert run(index, album, no_exclude=True).added == 2


def test_verify_finds_damage_and_repair_sets_it_aside(index, album):
    run(index, album, exclude=("raw/",))
    assert verify(index).sound
    (index / EXCLUDED_NAME).write_text("{")
    (defect,) = verify(index).defects
    assert (defect.kind, defect.object) == ("excluded", str(index / EXCLUDED_NAME))
    actions, report = repair(index)
    assert report.sound
    assert actions == ["set aside the damaged excluded.json as excluded.json.damaged"]
    assert run(index, album).added == 2


def test_a_link_in_its_place_is_not_followed(index, album, tmp_path):
    run(index, album, exclude=("raw/",))
    shutil.move(index / EXCLUDED_NAME, tmp_path / "elsewhere")
    (index / EXCLUDED_NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(IndexCorruptError, match=r"excluded\.json is a link"):
        run(index, album)


def test_a_pattern_that_matches_nothing_changes_nothing(index, album):
    run(index, album)
    with pytest.raises(ArgumentError, match="matches nothing"):
        run(index, album, exclude=("[",))
    assert read_excluded(index) == ()


def test_older_versions_read_the_catalog_as_before(index, album):
    run(index, album, exclude=("raw/",))
    with IndexWriter(index) as writer:
        keys = {key for (key,) in writer.catalog.select("SELECT key FROM meta")}
    assert keys == {"generation", "state", "root", "style", "manifest"}


def test_an_export_takes_the_patterns_along(index, album, tmp_path):
    run(index, album, exclude=("raw/",))
    export_index(index, tmp_path / "x.tar")
    import_index(tmp_path / "x.tar", tmp_path / "other")
    assert read_excluded(tmp_path / "other") == read_excluded(index)
    (index / EXCLUDED_NAME).write_text(json.dumps({"exclude": 1}))
    with pytest.raises(IndexCorruptError):
        export_index(index, tmp_path / "y.tar")
