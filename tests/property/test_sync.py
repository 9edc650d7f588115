"""An index follows its folder through any sequence of changes and kills, checked against a model of a few dicts."""

import hashlib
import itertools
import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from semret.errors import ImageSearchError
from semret.index.care.maintain import compact, remove
from semret.index.care.verify import verify
from semret.index.collection import open_collection
from semret.index.sync.report import SyncOptions
from semret.index.sync.sync import sync

NAMES = st.sampled_from(["a.png", "b.png", "c.jpg", "sub/a.png", "sub/d.png"])
CONTENTS = st.integers(0, 4)
PAST = itertools.count(10**18, 10**9)


@pytest.fixture(scope="module")
def pictures(draw_picture):
    """The bytes of five pictures."""
    import io

    def encode(seed):
        stream = io.BytesIO()
        draw_picture(seed).save(stream, "PNG")
        return stream.getvalue()

    return [encode(seed) for seed in range(5)]


def machine(pictures, faults, tiny_backbone):
    digests = [hashlib.sha256(data).hexdigest() for data in pictures]

    class FolderAndIndex(RuleBasedStateMachine):
        def __init__(self):
            super().__init__()
            self.place = Path(tempfile.mkdtemp(prefix="semret-test-"))
            self.folder, self.index = self.place / "photos", self.place / "index"
            (self.folder / "sub").mkdir(parents=True)
            self.disk = {}
            self.shown = {}
            self.meaning = {}
            self.retired = set()
            self.held = None

        def teardown(self):
            if self.held is not None:
                self.held[0].close()
            shutil.rmtree(self.place)

        @initialize()
        def begin(self):
            self.write("a.png", 0, True)
            self.update(False)

        # What happens to the folder.

        @rule(name=NAMES, content=CONTENTS, settled=st.booleans())
        def write(self, name, content, settled):
            (self.folder / name).write_bytes(pictures[content])
            self.disk[name] = digests[content]
            self.age(name, settled)

        @rule(name=NAMES, settled=st.booleans())
        def spoil(self, name, settled):
            (self.folder / name).write_bytes(b"\x89PNG but no more than that")
            self.disk[name] = None
            self.age(name, settled)

        def age(self, name, settled):
            if settled:
                stamp = next(PAST)
                os.utime(self.folder / name, ns=(stamp, stamp))

        @rule(name=NAMES)
        def delete(self, name):
            (self.folder / name).unlink(missing_ok=True)
            self.disk.pop(name, None)

        @rule(old=NAMES, new=NAMES)
        def rename(self, old, new):
            if old in self.disk:
                (self.folder / old).replace(self.folder / new)
                self.disk[new] = self.disk.pop(old) if old != new else self.disk[old]

        # What is done to the index.

        @rule(prune=st.booleans())
        def update(self, prune):
            if not self.disk and not self.shown:
                with pytest.raises(ImageSearchError, match="there is no picture in"):
                    sync(self.index, [self.folder], tiny_backbone)
                return
            options = SyncOptions(commit_rows=2, workers=1, prune=prune)
            report = sync(self.index, [self.folder], tiny_backbone, options=options)
            before, self.shown = self.shown, self.see()
            expected = {name: sha for name, sha in self.disk.items() if sha is not None}
            kept = {} if prune else self.gone_with_their_folder(before, expected)
            assert {name: sha for name, (_, sha) in self.shown.items()} == expected | kept
            assert report.images == len(expected) + len(kept)
            assert report.kept == len(kept)
            assert {path for path, _ in report.skipped} == {
                str(self.folder / name) for name, sha in self.disk.items() if sha is None
            }
            for name, entry in before.items():
                if self.shown.get(name, (None, None))[1] == entry[1]:
                    assert self.shown[name] == entry, f"{name} is as it was and has another id"
            self.retire(before)

        def gone_with_their_folder(self, before, expected):
            """Return the images whose folder is empty as a whole, unless what they show lies elsewhere now."""
            empty = [folder for folder in ("", "sub/") if not any(name.startswith(folder) for name in self.disk)]
            gone = {name: sha for name, (_, sha) in before.items() if empty and name.startswith(empty[0])}
            if set(gone.values()) <= set(expected.values()):
                return {}
            # A file of the same content that is new elsewhere takes the id of one that is gone.
            moved = {name for name in gone if name not in self.shown}
            assert {gone[name] for name in moved} <= set(expected.values())
            return {name: sha for name, sha in gone.items() if name not in moved}

        @precondition(lambda self: self.disk)
        @rule(step=st.integers(1, 24))
        def update_and_kill(self, step):
            ended = faults("sync", self.index, [self.folder], kill_at=step)
            assert ended["status"] in (0, -signal.SIGKILL), ended["error"]
            before, self.shown = self.shown, self.see()
            for name, (_, sha) in self.shown.items():
                assert sha in (before.get(name, (None, None))[1], self.disk.get(name)), f"{name} is neither old nor new"

        @precondition(lambda self: self.shown)
        @rule(data=st.data())
        def take_out(self, data):
            name = data.draw(st.sampled_from(sorted(self.shown)))
            assert remove(self.index, [self.folder / name]).removed == 1
            before, self.shown = self.shown, self.see()
            assert self.shown == {other: entry for other, entry in before.items() if other != name}
            self.retire(before)

        @rule()
        def tidy(self):
            compact(self.index)
            assert self.see() == self.shown

        @rule(step=st.integers(1, 10))
        def tidy_and_kill(self, step):
            ended = faults("compact", self.index, kill_at=step)
            assert ended["status"] in (0, -signal.SIGKILL), ended["error"]
            assert self.see() == self.shown

        # What must hold.

        @rule()
        def hold(self):
            """Keep a collection open while others write; it must go on showing what it showed."""
            if self.held is not None:
                collection, tokens = self.held
                assert collection.tokens(collection.ids).tobytes() == tokens
                collection.close()
            collection = open_collection(self.index)
            self.held = collection, collection.tokens(collection.ids).tobytes()

        @rule()
        def check(self):
            assert verify(self.index).defects == ()

        @invariant()
        def ids_mean_one_content_and_never_return(self):
            for id_, sha in self.shown.values():
                assert self.meaning.setdefault(id_, sha) == sha
                assert id_ not in self.retired

        def retire(self, before):
            self.retired |= {id_ for id_, _ in before.values()} - {id_ for id_, _ in self.shown.values()}

        def see(self):
            """Return what the index shows, reading and checking every feature."""
            with open_collection(self.index) as collection:
                tokens = collection.tokens(collection.ids)
                own = collection.shortlist(tokens.mean(axis=1, dtype="f8"), 1) if len(collection) else None
                hashes = collection.hashes(collection.ids)
                if own is not None and len(set(hashes)) > 1:
                    assert collection.hashes(own.ids[:, 0]) == hashes
                paths = [Path(path).relative_to(self.folder).as_posix() for path, _, _ in collection.files()]
                return dict(zip(paths, zip(collection.ids.tolist(), hashes, strict=True), strict=True))

    return FolderAndIndex


@pytest.mark.slow
def test_the_index_follows_the_folder_through_changes_and_kills(pictures, faults, tiny_backbone):
    run_state_machine_as_test(
        machine(pictures, faults, tiny_backbone),
        settings=settings(
            max_examples=20, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
