"""Groups of copies, and how they are shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, SupportsIndex, overload

from semret.names import amount, readable
from semret.optional import need
from semret.retrieval.search.page import Section, ShownHit, render_fragment

RELATIONS = ("kept", "same", "near", "mirrored")
"""What a file is to the kept one of its group: that one; the same content; another file of the picture; its mirror."""

_SHOWN = 10
"""Groups that a notebook shows."""


@dataclass(frozen=True, kw_only=True)
class DuplicateFile:
    """One file of a group.

    Attributes
    ----------
    id, path : int, str
        Of the image, as hits have them.
    relation : {"kept", "same", "near", "mirrored"}
        What it is to the kept one of its group: that one, of the same content, a near-copy, a mirrored one.
    score : float
        Of its comparison with the kept one; 1 for the same content.
    bytes : int
        Of the file.
    width, height : int
        Of the upright picture in pixels.
    modified : float or None
        Time of the file's last change, in seconds since 1970; None for maps without a file.
    """

    id: int
    path: str
    relation: str
    score: float
    bytes: int
    width: int
    height: int
    modified: float | None

    def __str__(self) -> str:
        """Return size and age as one line."""
        when = "" if self.modified is None else f" · {_day(self.modified)}"
        return f"{self.width} × {self.height} · {readable(self.bytes)}{when}"

    def as_json(self) -> dict[str, Any]:
        """Return the JSON object of this file: the attributes by name.

        Returns
        -------
        dict
        """
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class DuplicateGroup:
    """A picture and its copies.

    Attributes
    ----------
    files : tuple of DuplicateFile
        At least two. First the one to keep: most pixels, then largest, then oldest; then files of the same content,
        then the others by score.
    bytes : int
        What all but the first hold; a further name of a file (a hard or symbolic link) holds nothing.
    """

    files: tuple[DuplicateFile, ...]
    bytes: int

    def __iter__(self) -> Iterator[DuplicateFile]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)

    @property
    def kept(self) -> DuplicateFile:
        """The file to keep."""
        return self.files[0]

    @property
    def others(self) -> tuple[DuplicateFile, ...]:
        """All files but the kept one."""
        return self.files[1:]

    def as_json(self) -> dict[str, Any]:
        """Return the JSON object of this group.

        Returns
        -------
        dict
            ``keep``, the path; ``bytes``; and ``files``.
        """
        return {"keep": self.kept.path, "bytes": self.bytes, "files": [file.as_json() for file in self.files]}

    def as_section(self) -> Section:
        """Return what an HTML page shows of this group: the kept picture beside its copies.

        Returns
        -------
        Section
        """
        shown = [
            ShownHit(rank=rank, score=file.score, path=file.path, remarks=(_WORDS[file.relation], str(file)))
            for rank, file in enumerate(self.others, start=1)
        ]
        remarks = ["keep this one", str(self.kept), f"the others hold {readable(self.bytes)}"]
        return Section(query=self.kept.path, picture=self.kept.path, remarks=remarks, hits=shown)


_WORDS = {"kept": "keep", "same": "same content", "near": "near-copy", "mirrored": "mirrored near-copy"}


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """The groups of copies of an index; iterate over it for `DuplicateGroup`s.

    Attributes
    ----------
    groups : tuple of DuplicateGroup
        In the order of the bytes that could be freed, the most first.
    threshold : float
        Score from which two images are copies.
    images, compared : int
        Images of the index, and different contents that were compared.
    gone, changed : int
        Images left out because their files are not there any more, or are not what was indexed.
    """

    groups: tuple[DuplicateGroup, ...]
    threshold: float
    images: int
    compared: int
    gone: int = 0
    changed: int = 0

    def __iter__(self) -> Iterator[DuplicateGroup]:
        return iter(self.groups)

    def __len__(self) -> int:
        return len(self.groups)

    @overload
    def __getitem__(self, place: SupportsIndex) -> DuplicateGroup: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[DuplicateGroup, ...]: ...
    def __getitem__(self, place: SupportsIndex | slice) -> DuplicateGroup | tuple[DuplicateGroup, ...]:
        return self.groups[place]

    def __str__(self) -> str:
        """Return what was found as one line."""
        others = sum(len(group.others) for group in self.groups)
        if not self.groups:
            return f"no copies among {amount(self.images, 'image')}"
        return (
            f"{amount(len(self.groups), 'group')} of copies among {amount(self.images, 'image')}; "
            f"{amount(others, 'file')} beside those to keep, {readable(self.bytes)}; nothing was deleted"
        )

    def __repr__(self) -> str:
        lines = [
            f"  {_WORDS[file.relation]:>18}  {file.score:.4f}  {file.path!r} (id {file.id}), {file}"
            for group in self.groups[:_SHOWN]
            for file in group
        ]
        more = [f"  and {amount(len(self) - _SHOWN, 'more group')}"] if len(self) > _SHOWN else []
        return "\n".join([f"<Duplicates {self}", *lines, *more]) + ">"

    @property
    def bytes(self) -> int:
        """What all files but the kept ones hold."""
        return sum(group.bytes for group in self.groups)

    @property
    def notes(self) -> list[str]:
        """In sentences, what was left out; most often empty."""
        found = []
        if self.gone:
            found.append(f"{amount(self.gone, 'indexed file')} left out: not there any more")
        if self.changed:
            found.append(f"{amount(self.changed, 'indexed file')} left out: changed since indexing")
        return [f"{note}; run semret index to bring the index up to date" for note in found]

    def to_pandas(self) -> Any:
        """Return the files of all groups as a table, one a row.

        Returns
        -------
        pandas.DataFrame
            Columns ``group``, counted from 1, and the attributes of `DuplicateFile`.

        Raises
        ------
        MissingDependencyError
            If pandas is not installed.
        """
        pandas = need("pandas", "a table", "pandas", "run pip install pandas")
        rows = [
            {"group": number, **file.as_json()} for number, group in enumerate(self.groups, start=1) for file in group
        ]
        return pandas.DataFrame(rows, columns=["group", *DuplicateFile.__dataclass_fields__])

    def as_json(self) -> dict[str, Any]:
        """Return the JSON object of ``semret duplicates --format json``.

        Returns
        -------
        dict
            Of numbers, strings, lists and dicts alone.
        """
        return {
            "threshold": self.threshold,
            "images": self.images,
            "compared": self.compared,
            "gone": self.gone,
            "changed": self.changed,
            "bytes": self.bytes,
            "groups": [group.as_json() for group in self.groups],
        }

    def as_sections(self, limit: int | None = None) -> list[Section]:
        """Return what an HTML page shows.

        Parameters
        ----------
        limit : int or None
            The first groups that are shown; None shows all.

        Returns
        -------
        list of Section
        """
        return [group.as_section() for group in self.groups[:limit]]

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the first groups, each kept picture beside its copies."""
        more = f"<p>and {amount(len(self) - _SHOWN, 'more group')}</p>" if len(self) > _SHOWN else ""
        shown = "".join(render_fragment(section) for section in self.as_sections(_SHOWN))
        return f"<p>{self}</p>{shown}{more}"


def _day(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).date().isoformat()
    except (OverflowError, ValueError, OSError):
        return "undated"
