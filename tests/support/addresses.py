"""Indexes at addresses of object stores, written with the small network."""

from __future__ import annotations

from semret.index.care.maintain import compact, remove
from semret.index.location import writable_index
from semret.index.store.object_folder import ObjectFolder
from semret.index.store.stored_state import parse_state
from semret.index.sync.report import SyncOptions
from semret.index.sync.sync import sync
from tests.support.networks import TinyBackbone

MEMORY = "memory://index"


def sync_at(index, folder):
    """Bring an index up to date with a folder, wherever it lies; paths are stored relative to the folder above."""
    options = SyncOptions(codec="pca8-int8", fit_from=8, commit_rows=4, root=folder.parent)
    with writable_index(index, may_create=True) as place:
        return sync(place.folder, [folder], TinyBackbone, options=options)


def remove_at(index, path):
    """Take a picture out of an index."""
    with writable_index(index) as place:
        return remove(place.folder, [path])


def compact_at(index):
    """Compact an index."""
    with writable_index(index) as place:
        return compact(place.folder)


def names_in(memory):
    """Return the names of the objects below `MEMORY`."""
    return sorted(name.removeprefix("/index/") for name in memory)


def state_at(address):
    """Return the state that was put last."""
    return parse_state(ObjectFolder(address).read("state.json", 2**25), address)


def segments_at(address):
    """Return the objects that are segments."""
    return {file.name for name, file in state_at(address).files.items() if name.startswith("segments/")}


def objects_at(address):
    """Return the objects that there are, whether a state names them or not."""
    return set(ObjectFolder(address).sizes("objects"))
