"""Things of a data set: their boxes and names, and records that are not what they must be."""

import json

import pytest

from semret.errors import ArgumentError, DatasetError
from semret.eval.data.egoobjects import ANNOTATIONS, load_egoobjects
from semret.eval.data.things import Thing, load_things
from semret.eval.scenes.egoobjects_layout import make_egoobjects


@pytest.fixture
def root(tmp_path):
    make_egoobjects(tmp_path / "ego", scenes=2, videos=2, frames=1, size=(72, 128))
    return tmp_path / "ego"


def change(root, edit):
    file = root / ANNOTATIONS
    document = json.loads(file.read_text(encoding="utf-8"))
    edit(document)
    file.write_text(json.dumps(document), encoding="utf-8")


def load(root, same="instance"):
    return load_things(root, load_egoobjects(root), same=same)


def test_every_annotation_is_a_thing_in_its_picture(root):
    document = json.loads((root / ANNOTATIONS).read_text(encoding="utf-8"))
    names = {image["id"]: image["url"] for image in document["images"]}
    dataset = load_egoobjects(root)
    things, left_out = load(root)
    assert left_out == {}
    assert [(dataset.paths[thing.picture].name, list(thing.box), thing.name) for thing in things] == [
        (names[a["image_id"]], a["bbox"], a["instance_id"]) for a in document["annotations"]
    ]
    assert [thing.name for thing in load(root, "category")[0]] == [
        str(a["category_id"]) for a in document["annotations"]
    ]


def test_annotations_without_box_or_name_are_counted(root):
    def edit(document):
        del document["annotations"][0]["bbox"]
        document["annotations"][1]["instance_id"] = None

    total = len(load(root)[0])
    change(root, edit)
    things, left_out = load(root)
    assert len(things) == total - 2
    assert left_out == {"annotations without bbox or instance_id": 2}
    assert isinstance(things[0], Thing)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ([1, 2, 3], r"expected \[x, y, width, height\]"),
        ([1, 2, 3, "4"], r"expected \[x, y, width, height\]"),
        ("all", r"expected \[x, y, width, height\]"),
        ([1, 2, 0, 4], "width and height positive"),
        ([1, float("nan"), 3, 4], "finite numbers"),
    ],
)
def test_a_box_that_is_none_names_its_record(root, box, message):
    change(root, lambda document: document["annotations"][3].update(bbox=box))
    with pytest.raises(DatasetError, match=rf"annotations\[3\] \(id 4\) has bbox .*{message}"):
        load(root)


def test_a_data_set_without_things_is_refused(root):
    change(root, lambda document: [a.pop("instance_id") for a in document["annotations"]])
    with pytest.raises(DatasetError, match="choose another --same"):
        load(root)
    with pytest.raises(ArgumentError, match="expected instance or category"):
        load(root, "colour")
