"""The manifest: written in one way only, read with suspicion, compared field by field."""

import dataclasses
import json

import pytest

from semret.errors import ArgumentError, IncompatibleIndexError, IndexCorruptError, IndexNotFoundError
from semret.index.backbones.spec import Identity, Preprocessing
from semret.index.store.manifest import FORMAT_VERSION, MANIFEST_NAME, Manifest, check_compatible, read_manifest


@pytest.fixture
def manifest(tiny_backbone):
    return Manifest(identity=tiny_backbone().identity, created="2026-01-02T03:04:05+00:00", semret="1.2.3")


def write(folder, data):
    (folder / MANIFEST_NAME).write_bytes(data)
    return folder


def test_reading_gives_back_what_was_written(tmp_path, manifest):
    assert read_manifest(write(tmp_path, manifest.as_bytes())) == manifest


def test_shapes_and_bytes_follow_from_the_grid(manifest):
    assert manifest.token_shape == (9, 12)
    assert manifest.token_bytes == 9 * 12 * 2
    assert dataclasses.replace(manifest, dtype="float32").token_bytes == 9 * 12 * 4


def test_a_folder_without_manifest_is_no_index(tmp_path):
    with pytest.raises(IndexNotFoundError, match=r"is no index: it holds no manifest\.json"):
        read_manifest(tmp_path)


def test_any_changed_byte_is_damage(tmp_path, manifest):
    raw = manifest.as_bytes()
    refused = 0
    for position in range(0, len(raw), 2):
        changed = raw[:position] + bytes([raw[position] ^ 0x21]) + raw[position + 1 :]
        try:
            # Where it stays a valid manifest, it is another one: comparison with the catalog's copy tells.
            assert read_manifest(write(tmp_path, changed)) != manifest
        except (IndexCorruptError, IncompatibleIndexError):
            refused += 1
    assert refused > len(raw) // 4


@pytest.mark.parametrize("length", [0, 1, 100, 500])
def test_a_cut_manifest_is_damaged(length, tmp_path, manifest):
    with pytest.raises(IndexCorruptError, match=r"manifest\.json is damaged .*semret verify --repair"):
        read_manifest(write(tmp_path, manifest.as_bytes()[:length]))


def test_a_newer_format_is_refused_by_name(tmp_path, manifest):
    document = json.loads(manifest.as_bytes()) | {"format_version": 7, "new field": 1}
    with pytest.raises(
        IncompatibleIndexError, match=rf"has index format 7, this semret .* up to {FORMAT_VERSION}; upgrade"
    ):
        read_manifest(write(tmp_path, json.dumps(document).encode()))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("format_version",), "1"),
        (("format_version",), 0),
        (("dtype",), "object"),
        (("identity", "grid"), [3, 3, 3]),
        (("identity", "grid"), [0, 3]),
        (("identity", "channels"), 2**40),
        (("identity", "channels"), 1.5),
        (("identity", "grid"), [2**19, 2**19]),
        (("identity", "weights_sha256"), "../../etc"),
        (("identity",), None),
        (("identity", "preprocessing"), []),
        (("identity", "extra"), 1),
    ],
)
def test_a_crafted_manifest_is_damaged(path, value, tmp_path, manifest):
    document = json.loads(manifest.as_bytes())
    target = document
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    crafted = (json.dumps(document, indent=2, sort_keys=True) + "\n").encode()
    with pytest.raises(IndexCorruptError, match="is damaged"):
        read_manifest(write(tmp_path, crafted))


def test_deeply_nested_json_is_damaged(tmp_path):
    with pytest.raises(IndexCorruptError, match="is damaged"):
        read_manifest(write(tmp_path, b"[" * 500_000))


def test_an_unknown_dtype_is_refused(tiny_backbone):
    with pytest.raises(ArgumentError, match="cannot be stored as 'int8'; choose one of float16, float32"):
        Manifest(identity=tiny_backbone().identity, created="", dtype="int8")


CHANGED = {
    "backbone": "other",
    "family": "hf",
    "checkpoint": "other",
    "revision": "0" * 40,
    "weights_sha256": "0" * 64,
    "preprocessing": Preprocessing(size=(24, 24), mean=(0.25,) * 3, std=(0.5,) * 3),
    "layer": 3,
    "pooled": "cls",
    "prefix_tokens": 1,
    "grid": (1, 9),
    "channels": 13,
    "pooled_dim": 13,
    "autocast": "bfloat16",
}


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Identity)])
def test_a_backbone_is_compatible_when_all_but_its_revision_agrees(field, manifest, tiny_backbone):
    """A revision says where weights were looked for; their digest says what they are."""
    same = tiny_backbone().identity
    check_compatible(manifest, same)
    changed = dataclasses.replace(same, **{field: CHANGED[field]})
    assert changed != same
    if field == "revision":
        check_compatible(manifest, changed)
        return
    with pytest.raises(IncompatibleIndexError, match=rf"another model: {field}[ .]\S* ?.*in the index, .* now"):
        check_compatible(manifest, changed)


def test_every_difference_is_named(manifest, tiny_backbone):
    other = tiny_backbone("other", seed=1).identity
    other = dataclasses.replace(
        other, grid=(4, 4), preprocessing=dataclasses.replace(other.preprocessing, size=(32, 32)), autocast="bfloat16"
    )
    with pytest.raises(IncompatibleIndexError) as caught:
        check_compatible(manifest, other)
    message = str(caught.value)
    for part in (
        "backbone is tiny in the index, other now",
        "preprocessing.size is 24x24 in the index, 32x32 now",
        "grid is 3x3 in the index, 4x4 now",
        "autocast is None in the index, bfloat16 now",
        "weights_sha256 is ",
    ):
        assert part in message
    assert "\n" not in message
