"""What a sync would do with every file: the plan of a dry run. Nothing is written."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from semret.errors import ImageDecodeError
from semret.index.collection import open_collection
from semret.index.pictures.exclusion import Exclusions
from semret.index.pictures.files import hash_file
from semret.index.pictures.find import FoundImage
from semret.index.store.catalog import Catalog
from semret.index.store.manifest import MANIFEST_NAME, Manifest
from semret.index.sync.rows import DECODER
from semret.index.sync.survey import Survey, look
from semret.index.sync.vanished import Vanished
from semret.paths import PathLike, is_address


@dataclass
class PlanCounts:
    """Files by what would become of them."""

    added: int = 0
    updated: int = 0
    renamed: int = 0
    removed: int = 0
    unchanged: int = 0


@dataclass
class Plan:
    """What would be done.

    Attributes
    ----------
    survey : Survey
        What lies in the folders.
    manifest : Manifest or None
        Of the index; None where it has still to be made.
    counts : PlanCounts
        Files by what would become of them.
    to_embed : list of FoundImage
        Files that have to go through the network, if they turn out to be pictures.
    skipped : dict
        Paths that are known to be unusable, with the reason.
    kept : dict
        For each folder that is gone as a whole, the number of its images that would stay.
    updates : set of str
        Paths at which the index has an image of another content.
    """

    survey: Survey
    manifest: Manifest | None = None
    counts: PlanCounts = field(default_factory=PlanCounts)
    to_embed: list[FoundImage] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)
    updates: set[str] = field(default_factory=set)

    def refuse(self, refused: dict[str, str]) -> None:
        """Take out files that turned out to be no pictures; images that they would have replaced count as removed.

        Parameters
        ----------
        refused : dict
            Path to reason, for some of `to_embed`.
        """
        self.skipped |= refused
        self.to_embed = [found for found in self.to_embed if found.path not in refused]
        lost = len(self.updates & refused.keys())
        self.counts.added -= len(refused) - lost
        self.counts.updated -= lost
        self.counts.removed += lost


@dataclass
class _Known:
    """What the index has: path to (size, time stamp, content), and refused path to (size, time stamp, reason)."""

    images: dict[str, tuple[int, int, str]]
    refused: dict[str, tuple[int, int, str]]
    manifest: Manifest


def make_plan(paths: Sequence[PathLike], index: Path, unwanted: Exclusions, *, prune: bool = False) -> Plan:
    """Work out what `sync` would do.

    Files of another size or time than before are read only if some image of the index has the same size: only then can
    their content be known already.

    Parameters
    ----------
    paths : sequence of path
        Files, and folders that are walked.
    index : Path
        Index directory; need not exist.
    unwanted : Exclusions
        What is left out.
    prune : bool
        Whether images of folders that are gone as a whole would be removed.

    Returns
    -------
    Plan

    Raises
    ------
    ImageSearchError
        If a path given does not exist, or there is no picture and was none before; see `Survey.require_pictures`.
    """
    survey = look(paths, index, unwanted)
    if not (index / MANIFEST_NAME).is_file():
        survey.require_pictures(tuple)
        counts = PlanCounts(added=len(survey.found))
        return Plan(survey, counts=counts, to_embed=list(survey.found), skipped=dict(survey.skipped))
    known = _read_index(index)
    survey.require_pictures(lambda: known.images)
    plan = Plan(survey, known.manifest, skipped=dict(survey.skipped))
    _Planner(plan, known).go(prune)
    return plan


def _read_index(index: Path) -> _Known:
    with open_collection(index) as collection:
        hashes = collection.hashes(collection.ids)
        images = {path: (size, stamp, sha) for (path, size, stamp), sha in zip(collection.files(), hashes, strict=True)}
        root, manifest = collection.root, collection.manifest
    with Catalog(index) as catalog, catalog.reading():
        remembered = catalog.select("SELECT path, size, mtime_ns, reason FROM skipped WHERE decoder = ?", DECODER)
    refused = {root.to_path(key): (size, stamp, str(reason)) for key, size, stamp, reason in remembered}
    return _Known(images, refused, manifest)


class _Planner:
    """Sorts found files as `Changes` would, by the catalog alone where that is enough."""

    def __init__(self, plan: Plan, known: _Known) -> None:
        self._plan = plan
        self._images = dict(known.images)
        self._refused = known.refused
        self._found: set[str] = set()
        self._sizes = {size for size, _, _ in known.images.values()}
        self._contents = {sha for _, _, sha in known.images.values()}
        self._places: dict[str, list[str]] = defaultdict(list)
        for path, (_, _, sha) in known.images.items():
            self._places[sha].append(path)

    def go(self, prune: bool) -> None:
        """Sort every file found, then what was not found."""
        plan = self._plan
        for found in plan.survey.found:
            self._sort(found)
        for path in plan.survey.skipped:
            plan.counts.removed += self._images.pop(path, None) is not None
        vanished = Vanished(plan.survey, prune=prune)
        numbers = {path: number for number, path in enumerate(self._images)}
        for path, (_, _, sha) in self._images.items():
            if path not in self._found:
                vanished.note(numbers[path], path, bytes.fromhex(sha))
        places = defaultdict(list)
        for path, (_, _, sha) in self._images.items():
            places[bytes.fromhex(sha)].append((numbers[path], path, path in self._found))
        plan.kept = vanished.settle(lambda sha: places[sha])
        plan.counts.removed += len(vanished.removed)

    def _sort(self, found: FoundImage) -> None:
        plan, path = self._plan, found.path
        self._found.add(path)
        status, refusal = self._images.get(path), self._refused.get(path)
        if status is not None and (found.size < 0 or status[:2] in ((found.size, found.mtime_ns), (found.size, -1))):
            plan.counts.unchanged += 1
            return
        if status is None and refusal is not None and found.size >= 0 and refusal[:2] == (found.size, found.mtime_ns):
            plan.skipped[path] = refusal[2]
            return
        sha = _hash(found) if found.size in self._sizes else None
        if status is not None and status[2] == sha:
            plan.counts.unchanged += 1
            return
        if status is not None:
            plan.counts.updated += 1
            plan.updates.add(path)
        elif sha is not None and (former := self._former_place(sha)):
            plan.counts.renamed += 1
            self._places[sha].remove(former)
            del self._images[former]
        else:
            plan.counts.added += 1
        if sha is None or sha not in self._contents:
            plan.to_embed.append(found)
        if sha is not None:
            self._images[path] = (found.size, found.mtime_ns, sha)

    def _former_place(self, sha: str) -> str | None:
        """Return the path of an image with this content that is no longer there."""
        places = (path for path in self._places.get(sha, ()) if not is_address(path))
        return next((path for path in places if not os.path.lexists(path)), None)


def _hash(found: FoundImage) -> str | None:
    try:
        return hash_file(found.path)
    except ImageDecodeError:
        # What is wrong with it is said when it is decoded, by the estimate or by the sync itself.
        return None
