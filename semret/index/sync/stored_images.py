"""The images of an index while it is changed: as the catalog has them, and what is not committed yet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from semret.index.store.catalog import Catalog

_ASKED = 256


@dataclass(frozen=True, slots=True)
class Stored:
    """An image as the catalog has it."""

    id: int
    size: int
    mtime_ns: int
    sha256: bytes


class StoredImages:
    """Images by stored path and by content. Only what is not committed is in memory.

    Parameters
    ----------
    catalog : Catalog
        Open for writing; nobody else changes it.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._count = int(catalog.select("SELECT count(*) FROM images WHERE path IS NOT NULL")[0][0])
        self._changed: dict[bytes, Stored | None] = {}
        self._by_content: dict[bytes, dict[bytes, None]] = {}
        self._asked: dict[bytes, Stored | None] = {}
        self._without: set[bytes] = set()

    def __len__(self) -> int:
        """Return the number of images."""
        return self._count

    def __iter__(self) -> Iterator[bytes]:
        """Give the stored paths of the images that are committed, in the order of ids."""
        for images in self._catalog.portions("SELECT id, path FROM images WHERE path IS NOT NULL AND id > ?", 0):
            yield from (path for _, path in images)

    def look_up(self, keys: Sequence[bytes], contents: Sequence[bytes]) -> None:
        """Ask the catalog at once what `at` and `with_content` would ask for each of some files.

        Parameters
        ----------
        keys : sequence of bytes
            Stored paths.
        contents : sequence of bytes
            SHA-256.
        """
        self._asked = dict(zip(keys, self._committed(keys), strict=True))
        held: set[bytes] = set()
        for start in range(0, len(contents), _ASKED):
            part = contents[start : start + _ASKED]
            select = f"SELECT sha256 FROM images WHERE path IS NOT NULL AND sha256 IN ({', '.join('?' * len(part))})"
            held.update(sha256 for (sha256,) in self._catalog.select(select, *part))
        self._without = set(contents) - held

    def _committed(self, keys: Sequence[bytes]) -> list[Stored | None]:
        found: dict[bytes, Stored | None] = {}
        for start in range(0, len(keys), _ASKED):
            part = keys[start : start + _ASKED]
            marks = ", ".join("?" * len(part))
            select = f"SELECT path, id, size, mtime_ns, sha256 FROM images WHERE path IN ({marks})"
            found |= {path: Stored(*rest) for path, *rest in self._catalog.select(select, *part)}
        return [found.get(key) for key in keys]

    def at(self, key: bytes) -> Stored | None:
        """Return the image at a stored path.

        Parameters
        ----------
        key : bytes

        Returns
        -------
        Stored or None
            None if there is none.
        """
        return self.at_each([key])[0]

    def at_each(self, keys: Sequence[bytes]) -> list[Stored | None]:
        """Return the images at some stored paths.

        Parameters
        ----------
        keys : sequence of bytes

        Returns
        -------
        list of Stored or None
            In the same order.
        """
        known = {**{key: self._asked[key] for key in keys if key in self._asked}, **self._changed_among(keys)}
        asked = [key for key in keys if key not in known]
        found = dict(zip(asked, self._committed(asked), strict=True))
        return [known[key] if key in known else found[key] for key in keys]

    def _changed_among(self, keys: Sequence[bytes]) -> dict[bytes, Stored | None]:
        return {key: self._changed[key] for key in keys if key in self._changed}

    def with_content(self, sha256: bytes) -> Iterator[tuple[int, bytes]]:
        """Give the images with a content; none may be put or lost meanwhile.

        Parameters
        ----------
        sha256 : bytes

        Yields
        ------
        (int, bytes)
            Id and stored path: those that are committed, in the order of ids, then the others.
        """
        select = "SELECT id, path FROM images WHERE id > ? AND path IS NOT NULL AND sha256 = ?"
        for images in () if sha256 in self._without else self._catalog.portions(select, 0, sha256):
            yield from ((id_, path) for id_, path in images if path not in self._changed)
        for path in self._by_content.get(sha256, ()):
            image = self._changed[path]
            if image is not None and image.sha256 == sha256:
                yield image.id, path

    def put(self, key: bytes, image: Stored, *, is_new: bool) -> None:
        """Note an image at a stored path.

        Parameters
        ----------
        key : bytes
        image : Stored
        is_new : bool
            Whether there is none at that path.
        """
        self._count += is_new
        self._changed[key] = image
        self._by_content.setdefault(image.sha256, {})[key] = None

    def lose(self, key: bytes) -> Stored | None:
        """Note that there is no image at a stored path any more.

        Parameters
        ----------
        key : bytes

        Returns
        -------
        Stored or None
            The one that was there.
        """
        image = self.at(key)
        if image is not None:
            self._changed[key] = None
            self._count -= 1
        return image

    def forget(self, count: int) -> None:
        """Note that so many images are about to be deleted from the catalog.

        Parameters
        ----------
        count : int
        """
        self._count -= count
        self.committed()

    def committed(self) -> None:
        """Note that the catalog has all changes."""
        self._changed, self._by_content = {}, {}
        self._asked, self._without = {}, set()
