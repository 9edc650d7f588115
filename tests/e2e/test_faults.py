"""Whatever stops a writer, the index is valid, holds what was committed, and the next run ends as if undisturbed."""

import functools
import random
import signal
import threading

import numpy as np
import pytest

from semret.errors import IndexNotFoundError
from semret.index.care.verify import verify
from semret.index.collection import open_collection
from semret.index.sync.report import SyncOptions
from semret.index.sync.sync import sync
from tests.support.indexes import token_bytes
from tests.support.pictures import age, draw_into


@pytest.fixture(params=["none", "pca8-int8"])
def faults(faults, request):
    """Every kind of index: with tokens as they are, and encoded by a codec that is fitted on the first pictures."""
    return functools.partial(faults, codec=request.param, fit_from=3)


@pytest.fixture
def folder(tmp_path, draw_picture):
    """Seven pictures (one of them twice) and a file that is none."""
    made = tmp_path / "photos"
    draw_into(made, range(6))
    (made / "sub").mkdir()
    draw_picture(3).save(made / "sub" / "again.png")
    (made / "broken.jpg").write_bytes(b"no picture")
    age(made)
    return made


@pytest.fixture
def reference(tmp_path, folder, faults, index_contents):
    """What an undisturbed run makes of the folder."""
    made = tmp_path / "reference"
    assert faults("sync", made, [folder])["status"] == 0
    return index_contents(made)


def visible(index, index_contents):
    try:
        return index_contents(index)
    except IndexNotFoundError:
        return {}


def names_in(index):
    return {file.relative_to(index).as_posix() for file in index.rglob("*") if file.is_file()}


def test_a_kill_at_every_step_of_the_first_run_loses_nothing_committed(
    tmp_path, folder, faults, reference, index_contents
):
    steps = faults("sync", tmp_path / "count", [folder])["passed"]
    expected = {"manifest:renamed", "segment:written", "catalog:changed", "catalog:committed", "directory:renamed"}
    assert expected <= set(steps)
    assert ("shortlist:renamed" in steps) == (faults.keywords["codec"] == "none")
    for step in range(1, len(steps) + 1):
        index = tmp_path / f"killed-{step}"
        killed = faults("sync", index, [folder], kill_at=step)
        assert killed["status"] == -signal.SIGKILL
        assert killed["passed"] == steps[:step]
        before = visible(index, index_contents)
        assert before.items() <= reference.items(), f"after {steps[step - 1]}"
        assert 2 * steps[:step].count("catalog:committed") >= len(before) >= steps[:step].count("catalog:committed")
        assert faults("sync", index, [folder])["status"] == 0
        assert index_contents(index) == reference, f"after {steps[step - 1]}"
        assert names_in(index) == names_in(tmp_path / "reference"), f"after {steps[step - 1]}"


def test_a_kill_at_every_step_of_a_compaction_changes_nothing(tmp_path, folder, faults, index_contents):
    import shutil

    original = tmp_path / "original"
    faults("sync", original, [folder])
    faults("remove", original, [folder / "1.png", folder / "4.png"])
    expected = index_contents(original)
    shutil.copytree(original, tmp_path / "count")
    done = faults("compact", tmp_path / "count")
    assert done["status"] == 0
    assert index_contents(tmp_path / "count") == expected
    assert len(list((tmp_path / "count" / "segments").glob("*.h5"))) == 1
    for step in range(1, len(done["passed"]) + 1):
        index = tmp_path / f"killed-{step}"
        shutil.copytree(original, index)
        assert faults("compact", index, kill_at=step)["status"] == -signal.SIGKILL
        assert index_contents(index) == expected, f"after {done['passed'][step - 1]}"
        assert faults("compact", index)["status"] == 0
        assert index_contents(index) == expected
        assert len(list((index / "segments").iterdir())) == 1


def test_a_kill_at_every_step_of_an_update_leaves_each_file_old_or_new(
    tmp_path, folder, faults, draw_picture, index_contents
):
    import shutil

    original = tmp_path / "original"
    faults("sync", original, [folder])
    before = index_contents(original)
    (folder / "0.png").unlink()
    (folder / "1.png").rename(folder / "renamed.png")
    draw_picture(50).save(folder / "2.png")
    draw_picture(51).save(folder / "new.png")
    shutil.copytree(original, tmp_path / "undisturbed")
    steps = faults("sync", tmp_path / "undisturbed", [folder])["passed"]
    after = index_contents(tmp_path / "undisturbed")
    assert after[str(folder / "renamed.png")] == before[str(folder / "1.png")]
    assert after[str(folder / "2.png")][0] != before[str(folder / "2.png")][0]
    for step in range(1, len(steps) + 1):
        index = tmp_path / f"killed-{step}"
        shutil.copytree(original, index)
        faults("sync", index, [folder], kill_at=step)
        assert index_contents(index).items() <= before.items() | after.items(), f"after {steps[step - 1]}"
        assert faults("sync", index, [folder])["status"] == 0
        assert index_contents(index) == after, f"after {steps[step - 1]}"


@pytest.mark.slow
def test_kills_at_random_times_until_the_index_is_whole(tmp_path, folder, faults, reference, index_contents):
    dice = random.Random(20260101)
    kills = 0
    # On a quick machine many runs end before their killer comes; go on until a hundred were hit.
    for run in range(400):
        if kills >= 100:
            break
        index = tmp_path / f"run-{run}"
        shown = 0
        for _ in range(4):
            ended = faults("sync", index, [folder], kill_after=dice.uniform(0.0, 0.08), commit_rows=1, batch_size=1)
            kills += ended["status"] == -signal.SIGKILL
            found = visible(index, index_contents)
            assert found.items() <= reference.items()
            assert len(found) >= shown, "what was committed is gone"
            shown = len(found)
        assert faults("sync", index, [folder])["status"] == 0
        assert index_contents(index) == reference
    assert kills >= 100


def test_a_full_disk_at_every_step_is_one_line_and_leaves_a_valid_index(
    tmp_path, folder, faults, reference, index_contents
):
    steps = faults("sync", tmp_path / "count", [folder])["passed"]
    for step in [step for step, label in enumerate(steps, start=1) if label in ("segment:begun", "segment:written")]:
        index = tmp_path / f"full-{step}"
        ended = faults("sync", index, [folder], fail_at=step)
        assert ended["status"] == 1
        assert ended["error"].startswith("StorageError: cannot write ")
        assert "No space left on device; what was committed before is intact; make room" in ended["error"]
        assert visible(index, index_contents).items() <= reference.items()
        assert not list(index.rglob("*.tmp"))
        assert faults("sync", index, [folder])["status"] == 0
        assert index_contents(index) == reference


@pytest.mark.parametrize("largest", [100, 2_000, 5_000, 9_000, 20_000, 30_000])
def test_files_that_may_not_grow_are_one_line_and_leave_a_valid_index(
    largest, tmp_path, folder, faults, reference, index_contents
):
    index = tmp_path / "limited"
    ended = faults("sync", index, [folder], largest_file=largest)
    assert ended["status"] == 1
    assert ended["error"].startswith("StorageError: cannot ")
    assert "\n" not in ended["error"]
    assert visible(index, index_contents).items() <= reference.items()
    assert faults("sync", index, [folder])["status"] == 0
    assert index_contents(index) == reference


def test_readers_never_see_a_wrong_or_partial_answer_while_writers_work(
    tmp_path, folder, faults, reference, index_contents, draw_picture
):
    index = tmp_path / "busy"
    faults("sync", index, [folder])
    extra = folder / "extra.png"
    allowed = {path: {entry[1:]} for path, entry in reference.items()}
    stop, problems, reads = threading.Event(), [], [0]

    def read():
        while not stop.is_set():
            with open_collection(index) as collection:
                first = index_view(collection)
                again = index_view(collection)
            reads[0] += 1
            if first != again:
                problems.append("one collection gave two answers")
            for path, features in first.items():
                if path != str(extra) and features not in allowed[path]:
                    problems.append(f"{path} has features that are not its own")

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for turn in range(6):
            draw_picture(100 + turn).save(extra)
            assert faults("sync", index, [folder])["error"] is None
            assert faults("remove", index, [folder / "2.png"])["error"] is None
            assert faults("compact", index)["error"] is None
    finally:
        stop.set()
        for reader in readers:
            reader.join(30)
    assert problems == []
    assert reads[0] > 10


def index_view(collection):
    ids = collection.ids
    nearest = collection.shortlist(np.asarray(collection.features.pooled), 1).ids[:, 0]
    hashes = collection.hashes(ids)
    assert collection.hashes(nearest) == hashes
    return {
        path: (sha, tokens, pooled.tobytes(), mean.tobytes(), norm)
        for (path, _, _), sha, tokens, pooled, mean, norm in zip(
            collection.files(),
            hashes,
            token_bytes(collection.tokens(ids)),
            np.asarray(collection.features.pooled),
            np.asarray(collection.features.means),
            collection.features.norms.tolist(),
            strict=True,
        )
    }


def test_a_kill_at_every_step_of_the_run_that_fits_a_codec_at_last(tmp_path, folder, faults, index_contents):
    import shutil

    original = tmp_path / "original"
    assert faults("sync", original, [folder / "0.png", folder / "1.png"])["status"] == 0
    shutil.copytree(original, tmp_path / "undisturbed")
    steps = faults("sync", tmp_path / "undisturbed", [folder])["passed"]
    fitted = "codec:renamed" in steps
    assert fitted == (faults.keywords["codec"] != "none")
    after = index_contents(tmp_path / "undisturbed")
    for step in range(1, len(steps) + 1):
        index = tmp_path / f"killed-{step}"
        shutil.copytree(original, index)
        faults("sync", index, [folder], kill_at=step)
        readable = index_contents(index)
        assert {path: entry[:2] for path, entry in readable.items()}.items() <= {
            path: entry[:2] for path, entry in after.items()
        }.items(), f"after {steps[step - 1]}"
        assert faults("sync", index, [folder])["status"] == 0
        if steps[step - 1].startswith(("catalog", "codec", "conversion", "former", "manifest", "segment")):
            assert verify(index).sound, f"after {steps[step - 1]}"
        assert len(list(index.glob("codec-*"))) == int(fitted)
        assert {path: entry[:2] for path, entry in index_contents(index).items()} == {
            path: entry[:2] for path, entry in after.items()
        }


@pytest.mark.parametrize("to", ["pca4-int4", "pca4-pq2"])
def test_a_kill_at_every_step_of_a_conversion_leaves_the_index_as_it_was_or_is_to_be(
    to, tmp_path, folder, faults, index_contents
):
    import shutil

    original = tmp_path / "original"
    faults("sync", original, [folder])
    before = index_contents(original)
    shutil.copytree(original, tmp_path / "undisturbed")
    done = faults("convert", tmp_path / "undisturbed", to=to)
    assert done["status"] == 0
    assert {"codec:renamed", "conversion:committed", "former:kept", "manifest:renamed"} <= set(done["passed"])
    after = index_contents(tmp_path / "undisturbed")
    assert after.keys() == before.keys()
    assert after != before
    for step in range(1, len(done["passed"]) + 1):
        index = tmp_path / f"killed-{step}"
        shutil.copytree(original, index)
        assert faults("convert", index, to=to, kill_at=step)["status"] == -signal.SIGKILL
        committed = "catalog:committed" in done["passed"][:step]
        assert index_contents(index) == (after if committed else before), f"after {done['passed'][step - 1]}"
        assert verify(index).sound, f"after {done['passed'][step - 1]}"
        assert faults("convert", index, to=to)["status"] == 0
        assert index_contents(index) == after
        assert names_in(index) == names_in(tmp_path / "undisturbed"), f"after {done['passed'][step - 1]}"


def test_readers_of_the_state_before_a_conversion_keep_what_they_opened(tmp_path, folder, faults, index_contents):
    index = tmp_path / "index"
    faults("sync", index, [folder])
    before = index_contents(index)
    with open_collection(index) as reader:
        assert faults("convert", index, to="pca4-int4")["error"] is None
        assert index_view(reader) == {path: entry[1:] for path, entry in before.items()}
        refused = faults("convert", index, to="pca2-int4")
        assert refused["error"].startswith("IndexLockedError: ")
        assert "end those readers" in refused["error"]
        assert (index / "manifest.former").exists()
    assert faults("convert", index, to="pca2-int4")["error"] is None
    assert not (index / "manifest.former").exists()
    assert len(list(index.glob("codec-*"))) == 1
    assert len(list((index / "segments").glob("*.h5"))) == 1


def test_an_open_collection_outlives_a_compaction(tiny_index, photos, tiny_backbone, index_contents):
    from semret.index.care.maintain import compact, remove

    with open_collection(tiny_index) as before:
        remove(tiny_index, [photos / "0.png", photos / "1.png"])
        compact(tiny_index)
        assert len(before.tokens(before.ids)) == 6
        assert len(open_collection(tiny_index)) == 4
        assert len(list((tiny_index / "segments").glob("*.h5"))) == 2
    # The next writer finds nobody reading.
    sync(tiny_index, [photos / "2.png"], tiny_backbone, options=SyncOptions())
    assert len(list((tiny_index / "segments").glob("*.h5"))) == 1


def test_a_kill_while_inverted_lists_are_written_or_updated_leaves_what_an_undisturbed_run_leaves(
    tmp_path, folder, faults, index_contents
):
    import shutil

    if faults.keywords["codec"] == "none":
        pytest.skip("an index without a codec has no inverted lists")
    listed = functools.partial(faults, least_listed=4)
    original = tmp_path / "original"
    assert {"words:renamed", "lists:renamed"} <= set(listed("sync", original, [folder])["passed"])
    draw_into(folder, [60, 61])
    age(folder)
    (folder / "0.png").unlink()
    shutil.copytree(original, tmp_path / "undisturbed")
    steps = listed("sync", tmp_path / "undisturbed", [folder])["passed"]
    assert {"words:renamed", "lists:renamed", "directory:renamed"} <= set(steps)
    expected = index_contents(tmp_path / "undisturbed")
    for step in range(steps.index("words:written"), len(steps) + 1):
        index = tmp_path / f"killed-{step}"
        shutil.copytree(original, index)
        assert listed("sync", index, [folder], kill_at=step)["status"] == -signal.SIGKILL
        assert index_contents(index) == expected, f"after {steps[step - 1]}"
        assert listed("sync", index, [folder])["status"] == 0
        assert names_in(index) == names_in(tmp_path / "undisturbed"), f"after {steps[step - 1]}"
        for name in ("shortlist.ivf", "regions.ivf"):
            found, wanted = ((place / name).read_bytes() for place in (index, tmp_path / "undisturbed"))
            assert found == wanted, f"{name} after {steps[step - 1]}"
