"""Data sets: the official layouts as they are, with all the gaps the real ones have; and what is drawn from them."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semret.errors import ArgumentError, DatasetError
from semret.eval.data import egoobjects
from semret.eval.data.cityscapes import load_cityscapes, read_polygons
from semret.eval.data.cityscapes_classes import CITYSCAPES_LABELS, EVALUATED
from semret.eval.data.dataset import Dataset, allowed_answers, draw_split, reference_scores
from semret.eval.data.egoobjects import ANNOTATIONS, METADATA, load_egoobjects
from semret.eval.metrics import set_iou
from semret.eval.scenes.cityscapes_layout import draw_labels, make_cityscapes
from semret.eval.scenes.collection import render_collection
from semret.eval.scenes.egoobjects_layout import make_egoobjects
from semret.eval.scenes.rooms import draw_condition, draw_things, render_room
from semret.eval.scenes.streets import draw_content, draw_look, render_street
from semret.eval.scenes.things import CATEGORIES, draw_thing


def frame(number, **changes):
    fields = {
        "id": number, "url": f"{number}.jpg", "width": 1920, "height": 1080, "group_id": "g", "video_id": "01",
        "frame_id": 1, "main_category": "mug", "main_category_instance_ids": ["m1"], "subset": "test",
    }  # fmt: skip
    return {**fields, **changes}


@pytest.fixture
def write(tmp_path):
    def write(images, annotations, files=None):
        (tmp_path / "images").mkdir(exist_ok=True)
        for name in files if files is not None else [image["url"] for image in images if "url" in image]:
            (tmp_path / "images" / name).write_bytes(b"not decoded here")
        categories = [{"id": 7, "name": "book"}, {"id": 3, "name": "mug"}]
        document = {"info": {}, "categories": categories, "images": images, "annotations": annotations}
        (tmp_path / ANNOTATIONS).write_text(json.dumps(document), encoding="utf-8")
        (tmp_path / METADATA).write_text(json.dumps({"categories": categories}), encoding="utf-8")
        return tmp_path

    return write


def box(image, category=3):
    entry = {"id": 1, "image_id": image, "bbox": [0, 0, 1, 1], "area": 1, "instance_id": "x"}
    return entry if category is None else {**entry, "category_id": category}


def test_egoobjects_counts_instances_by_category(write):
    root = write([frame(2), frame(1)], [box(1), box(1), box(1, 7), box(2, 7)])
    dataset = load_egoobjects(root)
    assert [path.name for path in dataset.paths] == ["1.jpg", "2.jpg"]
    assert dataset.classes == ("mug", "book")
    assert dataset.counts.tolist() == [[2, 1], [0, 1]]
    assert dataset.left_out == {}


def test_egoobjects_leaves_out_and_counts_what_it_cannot_use(write):
    images = [
        frame(1), frame(2), frame(3), frame(4, width=1440), frame(5, subset="val"), frame(6),
        frame(7, url="../../escape.jpg"),
    ]  # fmt: skip
    annotations = [box(1), box(1, None), box(1, 99), box(2), box(4), box(5), box(6, None), box(7)]
    dataset = load_egoobjects(write(images, annotations, files=["1.jpg", "3.jpg", "4.jpg", "5.jpg", "6.jpg"]))
    assert [path.name for path in dataset.paths] == ["1.jpg"]
    assert dataset.left_out == {
        "annotations without category": 2,
        "annotations of a category that the metadata lacks": 1,
        "images without annotations": 2,
        "images without file": 2,
        "images of another aspect": 1,
        "images of another subset": 1,
    }


def test_egoobjects_aspect_any_keeps_all_and_nonsense_is_refused(write):
    root = write([frame(1, width=640, height=480), frame(2)], [box(1), box(2)])
    assert len(load_egoobjects(root, aspect="any")) == 2
    assert len(load_egoobjects(root, aspect="4:3")) == 1
    for nonsense in ("wide", "16:0", "16", "-4:3"):
        with pytest.raises(ArgumentError, match="W:H"):
            load_egoobjects(root, aspect=nonsense)


def test_a_video_is_a_pair_because_video_ids_recur(write):
    images = [
        frame(1), frame(2, group_id="h"), frame(3, video_id="02"), frame(4, group_id=None),
        frame(5, group_id=None, main_category_instance_ids=["m2"]), frame(6),
    ]  # fmt: skip
    root = write(images, [box(number) for number in range(1, 7)])
    videos = load_egoobjects(root).videos
    assert videos[0] == videos[5]
    assert len(set(videos.tolist())) == 5
    assert len(set(load_egoobjects(root, video_key="video").videos.tolist())) == 2
    assert len(set(load_egoobjects(root, video_key="main").videos.tolist())) == 3
    assert load_egoobjects(root, video_key="group_id,frame_id").videos[1] == "h/1"


def test_egoobjects_errors_say_what_is_wrong_and_what_to_do(write, tmp_path):
    with pytest.raises(DatasetError, match="--root must be the folder"):
        load_egoobjects(tmp_path)
    root = write([{"id": 1}], [box(1)])
    with pytest.raises(DatasetError, match=rf"{ANNOTATIONS}: images\[0\] \(id 1\) has no width; mend or remove"):
        load_egoobjects(root)
    root = write([frame(1, width=100)], [box(1)])
    with pytest.raises(DatasetError, match=r"no usable frame \(1 images of another aspect\); try --aspect any"):
        load_egoobjects(root)
    (root / ANNOTATIONS).write_text("{", encoding="utf-8")
    with pytest.raises(DatasetError, match="no JSON"):
        load_egoobjects(root)
    (root / ANNOTATIONS).write_text("[]", encoding="utf-8")
    with pytest.raises(DatasetError, match="JSON object"):
        load_egoobjects(root)


@pytest.mark.parametrize(
    ("images", "annotations", "message"),
    [
        ([frame(1), 5], [box(1)], r"images\[1\] is a whole number, expected an object"),
        ([frame(1), frame(2, width=0)], [box(1)], r"images\[1\] \(id 2\) has width 0, expected a positive number"),
        ([frame(1), frame(2, height=float("nan"))], [box(1)], r"images\[1\] \(id 2\) has height nan"),
        ([frame(1), frame("two")], [box(1)], r"images\[1\] \(id 'two'\) has id 'two', expected a whole number"),
        ([frame(1), frame(2), frame(1)], [box(1)], r"images\[2\] \(id 1\) has the id of images\[0\]"),
        ([frame(1, url=None)], [box(1)], r"images\[0\] \(id 1\) has url None, expected text"),
        ([frame(1, video_id=None)], [box(1)], r"images\[0\] \(id 1\) has video_id None"),
        ([frame(1)], [box(1), {"id": 9, "category_id": 3}], r"annotations\[1\] \(id 9\) has no image_id"),
        ([frame(1)], [box(1), box(1, "mug")], r"annotations\[1\] \(id 1\) has category_id 'mug'"),
        ([frame(1)], None, "annotations is null, expected a list"),
    ],
)
def test_a_bad_record_is_named_by_file_place_and_id(write, images, annotations, message):
    root = write(images, annotations, files=["1.jpg"])
    with pytest.raises(DatasetError, match=message) as caught:
        load_egoobjects(root)
    assert ANNOTATIONS in str(caught.value)
    assert METADATA not in str(caught.value)


def test_the_file_that_lacks_its_categories_is_blamed(write):
    root = write([frame(1)], [box(1)])
    (root / METADATA).write_text("{}", encoding="utf-8")
    with pytest.raises(DatasetError, match=rf"{METADATA} has no categories"):
        load_egoobjects(root)
    (root / METADATA).write_text(json.dumps({"categories": [{"id": 3}]}), encoding="utf-8")
    with pytest.raises(DatasetError, match=rf"{METADATA}: categories\[0\] \(id 3\) has no name"):
        load_egoobjects(root)


def test_annotation_files_are_opened_without_waiting(write):
    root = write([frame(1)], [box(1)])
    (root / METADATA).unlink()
    os.mkfifo(root / METADATA)
    with pytest.raises(DatasetError, match="is a named pipe"):
        load_egoobjects(root)


def test_hints_fit_what_left_nothing_over(write):
    root = write([frame(1, subset="val")], [box(1)])
    with pytest.raises(DatasetError, match="try --subset any"):
        load_egoobjects(root)
    with pytest.raises(ArgumentError, match="has no field 'nonsense', expected auto, group, main, video or fields"):
        load_egoobjects(root, subset=None, video_key="nonsense")


def test_only_a_test_split_of_its_size_and_aspect_is_the_papers(write, monkeypatch):
    root = write([frame(1), frame(2)], [box(1), box(2)])
    assert not load_egoobjects(root).is_papers
    monkeypatch.setattr(egoobjects, "EGOOBJECTS_TEST", (2, 2))
    assert load_egoobjects(root).is_papers
    assert not load_egoobjects(root, aspect="any").is_papers
    assert not load_egoobjects(root, subset=None).is_papers


def dataset_of(videos, counts):
    counts = np.asarray(counts)
    names = np.array(videos)
    return Dataset(
        name="made up", paths=(), classes=("a", "b"), counts=counts, videos=names, scenes=names, measure="f1"
    )  # fmt: skip


def test_answers_of_the_same_video_are_not_allowed():
    dataset = dataset_of(["v", "v", "w", "x"], np.eye(4, 2, dtype=int))
    allowed = allowed_answers(dataset, np.array([0, 2]), np.array([1, 3]))
    assert allowed.tolist() == [[False, True], [True, True]]
    with pytest.raises(ArgumentError, match="--video-key"):
        allowed_answers(
            replace(dataset, paths=tuple(Path(name) for name in "abcd")),
            np.array([0]),
            np.array([1]),
        )


def test_oracle_and_chance_look_at_allowed_answers_only():
    dataset = dataset_of(["v", "v", "w", "x"], [[1, 0], [1, 0], [1, 1], [0, 1]])
    queries, database = np.array([0]), np.array([1, 2, 3])
    found = reference_scores(dataset, queries, database, allowed_answers(dataset, queries, database))
    assert found["oracle"][0] == pytest.approx(2 / 3)
    assert found["chance"][0] == pytest.approx(1 / 3)


def made_up(count, per_video=1):
    dataset = dataset_of([str(number // per_video) for number in range(count)], np.ones((count, 2), dtype=int))
    return replace(dataset, paths=tuple(Path(str(number)) for number in range(count)))


def test_a_small_set_is_divided_as_it_was_asked_for():
    split = draw_split(made_up(85), queries=2000, databases=[5000, 2500], seed=0)
    assert (len(split.queries), list(split.databases)) == (24, [30, 61])
    assert not set(split.queries) & set(split.largest)
    assert split.notes == (
        "made up has 85 usable pictures where 2000 queries and a database of 5000 need 7000: divided into 24 queries "
        "and a database of 30 or 61",
    )
    assert draw_split(made_up(30), queries=8, databases=[22], seed=0).notes == ()
    tiny = draw_split(made_up(2), queries=2000, databases=[1, 5000], seed=0)
    assert (len(tiny.queries), list(tiny.databases)) == (1, [1])
    with pytest.raises(ArgumentError, match="has 1 usable picture"):
        draw_split(made_up(1), queries=1, databases=[1], seed=0)


def test_queries_that_nothing_may_answer_are_left_out_and_counted():
    dataset = made_up(12, per_video=6)
    split = draw_split(dataset, queries=10, databases=[1], seed=0)
    (only,) = dataset.videos[split.largest]
    assert set(dataset.videos[split.queries]) == {str(1 - int(only))}
    left_out = 10 - len(split.queries)
    assert left_out > 0
    assert split.notes[0].startswith(f"{left_out} of 10 queries are left out: the database of 1 has no picture")
    with pytest.raises(ArgumentError, match="--video-key"):
        draw_split(made_up(12, per_video=12), queries=5, databases=[3], seed=0)


def test_split_is_disjoint_nested_and_depends_on_the_seed():
    dataset = dataset_of([str(n) for n in range(30)], np.ones((30, 2), dtype=int))
    dataset = replace(dataset, paths=tuple(Path(str(n)) for n in range(30)))
    split = draw_split(dataset, queries=8, databases=[20, 10], seed=3)
    assert not set(split.queries) & set(split.largest)
    assert split.databases[10].tolist() == split.databases[20][:10].tolist()
    again = draw_split(dataset, queries=8, databases=[10, 20], seed=3)
    assert again.queries.tolist() == split.queries.tolist()
    assert draw_split(dataset, queries=8, databases=[20], seed=4).queries.tolist() != split.queries.tolist()
    with pytest.raises(ArgumentError, match="at least 1"):
        draw_split(dataset, queries=0, databases=[20], seed=0)


@pytest.fixture(scope="module")
def ego(tmp_path_factory):
    root = tmp_path_factory.mktemp("ego") / "data"
    assert make_egoobjects(root, seed=4, scenes=6, videos=3, frames=2) == 36
    return root


def test_rendered_egoobjects_have_an_oracle_of_one_and_low_chance(ego):
    dataset = load_egoobjects(ego)
    everything = np.arange(len(dataset))
    found = reference_scores(dataset, everything, everything, allowed_answers(dataset, everything, everything))
    assert len(dataset) == 36
    assert dataset.left_out == {}
    assert found["oracle"].min() == 1.0
    assert found["chance"].mean() < 0.45  # a third of the allowed answers show the same scene here
    assert len(np.unique(dataset.videos)) == 18


def test_rendered_boxes_lie_in_the_picture_and_things_are_where_they_say(ego):
    document = json.loads((ego / ANNOTATIONS).read_text(encoding="utf-8"))
    for annotation in document["annotations"]:
        x, y, width, height = annotation["bbox"]
        assert x >= 0
        assert y >= 0
        assert x + width <= 640
        assert y + height <= 360
        assert annotation["area"] > 150
    things, condition = draw_things(np.random.default_rng(0)), draw_condition(np.random.default_rng(1), 1)
    one, _ = render_room(things[:1], condition, seed=0)
    picture, placed = render_room(things[:1], condition, seed=0)
    np.testing.assert_array_equal(np.asarray(one), np.asarray(picture))
    empty, _ = render_room([], condition, seed=0)
    changed = np.abs(np.asarray(picture, dtype=int) - np.asarray(empty, dtype=int)).max(axis=2) > 60
    rows, columns = np.nonzero(changed)
    x, y, width, height = placed[0].box
    inside = (columns >= x) & (columns < x + width) & (rows >= y) & (rows < y + height)
    assert inside.mean() > 0.95


def test_rendering_is_reproducible_and_refuses_to_write_over_anything(ego, tmp_path):
    again = tmp_path / "again"
    make_egoobjects(again, seed=4, scenes=6, videos=3, frames=2)
    for name in (ANNOTATIONS, METADATA, "images/0003_02_001.jpg"):
        assert (again / name).read_bytes() == (ego / name).read_bytes()
    with pytest.raises(ArgumentError, match="not empty"):
        make_egoobjects(ego)
    with pytest.raises(ArgumentError, match="at most 10"):
        make_egoobjects(tmp_path / "x", videos=11)
    paths = render_collection(tmp_path / "plain", 5, seed=1)
    assert [path.name for path in paths][-1] == "scene-002-1.jpg"
    for path in paths:
        with Image.open(path) as picture:
            assert picture.size == (640, 480)


def test_every_category_is_drawn_and_its_looks_differ():
    for category in CATEGORIES:
        one, other = draw_thing(category, 0), draw_thing(category, 1)
        assert one.mode == "RGBA"
        assert np.asarray(one)[..., 3].mean() > 25  # some of it is opaque
        assert one.tobytes() != other.tobytes()
        assert one.tobytes() == draw_thing(category, 0).tobytes()


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    root = tmp_path_factory.mktemp("city") / "data"
    assert make_cityscapes(root, seed=2, train=12, val=5, contents=6, size=(128, 256)) == 17
    return root


def test_rendered_cityscapes_have_an_oracle_of_one(city):
    dataset, split = load_cityscapes(city)
    (database,) = split.databases.values()
    assert (len(split.queries), len(database)) == (5, 12)
    assert dataset.classes == EVALUATED
    table = set_iou(dataset.counts[split.queries][:, None], dataset.counts[database][None])
    assert table.max(axis=1).min() == 1.0
    assert table.mean() < 0.9


def test_polygons_and_label_ids_agree_except_for_what_is_hidden(city, tmp_path):
    with_ids, _ = load_cityscapes(city)
    copy = tmp_path / "polygons"
    for source in city.rglob("*"):
        if source.is_file() and not source.name.endswith("labelIds.png"):
            target = copy / source.relative_to(city)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    with_polygons, _ = load_cityscapes(copy)
    assert (with_polygons.counts >= with_ids.counts).all()
    assert (with_polygons.counts == with_ids.counts).mean() > 0.95


def test_all_classes_include_those_that_the_evaluation_leaves_out(city):
    dataset, _ = load_cityscapes(city, classes="all")
    assert "parking" in dataset.classes
    assert "ego vehicle" not in dataset.classes
    assert not dataset.is_papers
    with pytest.raises(ArgumentError, match="expected evaluated or all"):
        load_cityscapes(city, classes="every")


def test_polygon_labels_of_groups_mean_their_singular(tmp_path):
    file = tmp_path / "x_gtFine_polygons.json"
    objects = [
        {"label": "cargroup", "polygon": []}, {"label": "polegroup", "polygon": []}, {"label": "road", "polygon": []},
        {"label": "cloud", "polygon": []}, {"label": "bus", "polygon": [], "deleted": 1},
    ]  # fmt: skip
    file.write_text(json.dumps({"imgHeight": 1, "imgWidth": 1, "objects": objects}), encoding="utf-8")
    assert read_polygons(file) == {"car", "polegroup", "road"}
    file.write_text("{}", encoding="utf-8")
    with pytest.raises(DatasetError, match=r"_polygons\.json has no objects"):
        read_polygons(file)
    file.write_text(json.dumps({"objects": [{"label": "road"}, {"polygon": []}]}), encoding="utf-8")
    with pytest.raises(DatasetError, match=r"objects\[1\] has no label"):
        read_polygons(file)


def test_cityscapes_counts_pictures_without_annotation_and_refuses_an_empty_tree(city, tmp_path):
    extra = city / "leftImg8bit" / "train" / "aarhus" / "aarhus_999999_000019_leftImg8bit.png"
    Image.new("RGB", (8, 4)).save(extra)
    try:
        dataset, _ = load_cityscapes(city)
        assert dataset.left_out == {"images without annotations": 1}
    finally:
        extra.unlink()
    with pytest.raises(DatasetError, match="leftImg8bit/ and gtFine/"):
        load_cityscapes(tmp_path)


def test_streets_show_what_they_are_asked_to():
    rng = np.random.default_rng(8)
    content = draw_content(rng)
    picture, regions = render_street(content, draw_look(rng), seed=1)
    assert picture.size == (512, 256)
    assert {region.label for region in regions} == content
    labels = np.asarray(draw_labels(regions, (256, 512)))
    assert set(np.unique(labels)) <= {CITYSCAPES_LABELS[label] for label in content}
