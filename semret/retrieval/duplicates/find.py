"""Groups of copies: each image is compared with the best one of its kind, never with a copy of a copy."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float32Array, IndexVector, require_flag, require_number
from semret.errors import ArgumentError
from semret.index.backbones.spec import OWN_FEATURES
from semret.index.collection import Collection
from semret.paths import PathLike, absolute
from semret.progress import Progress, told, waiting_for
from semret.retrieval.duplicates.confirm import Confirmer
from semret.retrieval.duplicates.files import FileSurvey, is_unchanged, survey_files
from semret.retrieval.duplicates.neighbours import Neighbours
from semret.retrieval.duplicates.results import DuplicateFile, DuplicateGroup, Duplicates
from semret.retrieval.duplicates.small_pictures import SmallPictures
from semret.retrieval.search.engine import SearchEngine, open_index
from semret.retrieval.search.lookup import Lookup

THRESHOLD = 0.5
"""Score from which two images are copies: see docs/duplicates.md for how it was chosen."""

_ROWS = 8192
"""Pooled embeddings that are read at a time."""

_AT_ONCE = 32
"""Neighbours that are compared at a time; those after them are looked at if there was a copy among them."""


def duplicates(
    index: SearchEngine | PathLike | None = None,
    *,
    touching: PathLike | Sequence[PathLike] = (),
    threshold: float = THRESHOLD,
    frames: bool = False,
    progress: Progress | bool | None = None,
) -> Duplicates:
    """Find groups of copies and near-copies among the images of an index.

    Files of the same content are copies whatever they show. Two others are copies if their score reaches `threshold`:
    the cosine of their token maps under the best one-to-one matching, times the share of it that keeps the arrangement
    of the picture, at any scale and shift, mirrored or not; and if their files, laid over each other so, look the same
    in most blocks (`semret.retrieval.duplicates.pixels`). Images are visited from the best to the worst: most pixels,
    largest file, oldest. One that is not in a group yet takes every copy of itself that is not in one either, so every
    member has been compared with the one that is kept, and chains of copies of copies do not grow together.

    Which pairs are compared is decided by their pooled embeddings: every image is multiplied with every other, in
    blocks of bounded memory, and its nearest are compared, 32 at a time, for as long as there is a copy among them.

    Nothing is deleted, moved or written.

    Parameters
    ----------
    index : SearchEngine, path or None
        An open index, or where one is; see `semret.open_index`.
    touching : path or sequence of path
        Pictures of the index, and folders: only groups with a file among or below them are returned. Nothing: all.
    threshold : float
        Above 0, at most 1.
    frames : bool
        Whether the score alone decides, without a look at the pixels: then other frames of the same view, of a burst
        or a video, count as copies, too. So it is always with maps of one's own (`semret.build` with ``features``).
    progress : callable, bool or None
        Called with the number of pictures visited and their total; True draws a bar.

    Returns
    -------
    Duplicates
        Groups in the order of the bytes that all but their first files hold, the most first; without groups for an
        index without copies, or an empty one.

    Raises
    ------
    ArgumentError
        If `threshold` is out of range, or `frames` no flag; if one of `touching` has no image in the index.
    IndexNotFoundError, IndexCorruptError, IncompatibleIndexError
        See `semret.open_index`.
    """
    threshold = require_number(threshold, "threshold", "a number above 0, at most 1", lambda score: 0 < score <= 1)
    require_flag(frames, "frames")
    opened = contextlib.nullcontext(index) if isinstance(index, SearchEngine) else open_index(index)
    with opened as engine, told(progress, "comparing") as tell:
        collection = engine.collection
        wanted = _touched(collection, touching)
        with waiting_for("looking at the files", tell):
            survey = survey_files(collection)
        own = collection.manifest.identity.backbone == OWN_FEATURES
        pictures = None if frames or own else SmallPictures(collection)
        stars, compared = _stars(collection, survey, Confirmer(collection, threshold, pictures), tell)
        refused = frozenset() if pictures is None else frozenset(pictures.refused)
        return _Gathering(collection, survey, wanted, refused).result(stars, compared, threshold)


@dataclass(frozen=True)
class _Star:
    """An image that is kept, by position, and its copies of other content with their scores."""

    kept: int
    rows: list[int]
    scores: list[float]
    mirrored: list[bool]


def _touched(collection: Collection, touching: PathLike | Sequence[PathLike]) -> NDArray[np.bool_] | None:
    """Tell which images are meant, by position; None where all are."""
    listed = [touching] if isinstance(touching, (str, os.PathLike)) else list(touching)
    if not listed:
        return None
    found = np.zeros(len(collection), dtype=bool)
    lookup, folders = Lookup(collection), {}
    for path in listed:
        id_ = lookup.find(path)
        if id_ is None:
            top = str(absolute(path))
            folders[top if top.endswith(os.sep) else top + os.sep] = path
        else:
            found[collection.rows([id_])] = True
    for row, (path, _, _) in enumerate(collection.files() if folders else ()):
        inside = [top for top in folders if path.startswith(top)]
        found[row] |= bool(inside)
        for top in inside:
            folders[top] = ""
    missing = [os.fspath(path) for path in folders.values() if path != ""]
    if missing:
        raise ArgumentError(
            f"{missing[0]} is no picture of the index {collection.name}, nor a folder with any; index it first"
        )
    return found


def _stars(
    collection: Collection, survey: FileSurvey, confirmer: Confirmer, progress: Progress | None
) -> tuple[list[_Star], int]:
    """Return the images that have copies with those of other content, and the number of contents that were compared."""
    rows = survey.best_first(np.flatnonzero(survey.there))
    if progress is not None:
        progress(0, len(rows))
    if not len(rows):
        return [], 0
    # One image stands for a content: the best of its files.
    _, places, counts = np.unique(collection.firsts(rows), return_index=True, return_counts=True)
    several = set(rows[places[counts > 1]].tolist())
    rows = rows[np.sort(places)]
    neighbours = Neighbours(_vectors(collection, rows))
    stars = []
    for place, near in neighbours:
        star = _Star(int(rows[place]), [], [], [])
        for start in range(0, len(near), _AT_ONCE):
            part = near[start : start + _AT_ONCE]
            found = confirmer.confirm(star.kept, rows[part])
            if not len(found):
                break
            neighbours.taken[part[found.places]] = True
            star.rows.extend(rows[part[found.places]].tolist())
            star.scores.extend(found.scores.tolist())
            star.mirrored.extend(found.mirrored)
        if star.rows or star.kept in several:
            stars.append(star)
        if progress is not None:
            progress(place + 1, len(rows))
    if progress is not None:
        progress(len(rows), len(rows))
    return stars, len(rows)


def _vectors(collection: Collection, rows: IndexVector) -> Float32Array:
    """Return the pooled embeddings of images as they are compared, (n, D), a few at a time for the sake of memory."""
    found = np.empty((len(rows), collection.manifest.pooled_length), dtype=np.float32)
    for start in range(0, len(rows), _ROWS):
        found[start : start + _ROWS] = collection.nearest.unit_vectors(rows[start : start + _ROWS])
    return found


class _Gathering:
    """Turns stars into groups of files: with all files of each content, and without those that have changed."""

    def __init__(
        self, collection: Collection, survey: FileSurvey, wanted: NDArray[np.bool_] | None, refused: frozenset[int]
    ) -> None:
        self._collection, self._survey, self._wanted = collection, survey, wanted
        self._changed = set(refused)

    def result(self, stars: list[_Star], compared: int, threshold: float) -> Duplicates:
        """Return the groups of more than one file."""
        groups = [group for star in stars if (group := self._group(star)) is not None]
        groups.sort(key=lambda group: (-group.bytes, -len(group.files), group.kept.id))
        return Duplicates(
            groups=tuple(groups),
            threshold=float(threshold),
            images=len(self._collection),
            compared=compared,
            gone=self._survey.gone,
            changed=self._survey.changed + len(self._changed),
        )

    def _group(self, star: _Star) -> DuplicateGroup | None:
        contents = [self._files_of(row) for row in (star.kept, *star.rows)]
        if sum(map(len, contents)) < 2:
            return None
        if self._wanted is not None and not any(self._wanted[row] for rows in contents for row in rows):
            return None
        kept, *others = [list(self._unchanged(rows)) for rows in contents]
        if not kept or len(kept) + sum(map(len, others)) < 2:
            return None
        files = [self._file(row, "same" if place else "kept", 1.0) for place, row in enumerate(kept)]
        order = sorted(range(len(others)), key=lambda place: (-star.scores[place], star.rows[place]))
        for place in order:
            relation = "mirrored" if star.mirrored[place] else "near"
            files += [self._file(row, relation, star.scores[place]) for row in others[place]]
        return DuplicateGroup(files=tuple(files), bytes=self._held(files))

    def _files_of(self, row: int) -> IndexVector:
        """Return the images of a content whose files are there, the best to keep first; links to files last."""
        collection = self._collection
        rows = collection.rows(collection.copies(int(collection.ids[row])))
        rows = self._survey.best_first(rows[self._survey.there[rows]])
        if len(rows) < 2:
            return rows
        links = [os.path.islink(path) for path in collection.paths(collection.ids[rows])]  # noqa: PTH114 - bytes
        return np.asarray(rows[np.argsort(links, kind="stable")])

    def _unchanged(self, rows: IndexVector) -> Iterator[int]:
        collection = self._collection
        for row in rows.tolist():
            if row in self._changed:
                continue
            if row in self._survey.unsure:
                (path,), (sha256,) = collection.paths(collection.ids[[row]]), collection.hashes(collection.ids[[row]])
                if not is_unchanged(path, sha256):
                    self._changed.add(row)
                    continue
            yield row

    def _file(self, row: int, relation: str, score: float) -> DuplicateFile:
        survey, id_ = self._survey, int(self._collection.ids[row])
        modified = int(survey.modified[row])
        width, height = survey.sizes[row].tolist()
        return DuplicateFile(
            id=id_,
            path=self._collection.paths([id_])[0],
            relation=relation,
            score=score,
            bytes=int(survey.bytes[row]),
            width=width,
            height=height,
            modified=None if modified == np.iinfo(np.int64).max else modified / 1e9,
        )

    def _held(self, files: list[DuplicateFile]) -> int:
        """Return the bytes that all but the first file hold: further names of a file on the disk hold none."""
        held: dict[tuple[object, ...], int] = {}
        for number, file in enumerate(files):
            try:
                status = os.stat(file.path)  # noqa: PTH116 - paths may hold undecodable bytes
                key: tuple[object, ...] = (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else (number,)
            except (OSError, ValueError):
                key = (number,)
            held.setdefault(key, 0 if number == 0 else file.bytes)
        return sum(held.values())
