"""Pictures that lie elsewhere: found and read at addresses of fsspec (s3, gs, az, http, file and others).

A tar file (a shard, as WebDataset makes them) is a folder of its members: ``s3://bucket/000.tar/cat.jpg``. An address
that ends in ``.txt`` is a list of addresses, one a line. The only file that knows fsspec.
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import posixpath
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urljoin

from semret.errors import ImageDecodeError, ImageSearchError, MissingDependencyError, cut_text
from semret.foreign import open_regular
from semret.index.pictures.exclusion import Exclusions
from semret.index.pictures.files import MAX_BYTES, FileContent, unreadable
from semret.index.pictures.find import SUFFIXES, Entry, Excluded, FoundImage, LeftOut, SkippedPath
from semret.index.pictures.kinds import unread_kind
from semret.index.pictures.stores import listing, naming, reason
from semret.index.pictures.trust import require_harmless, trusted
from semret.index.pictures.web import fetch
from semret.paths import PathLike, is_address, located

LIST_BYTES = 2**32
"""Longest list of addresses that is read."""

_TAR = ".tar"
_LOCAL = "file://"
_LIST = ".txt"
_HEADER_BYTES = 2**17
_STAMPS = ("mtime", "LastModified", "last_modified", "updated", "modified", "Last-Modified", "created")
_LOCK = threading.Lock()
_NOTHING = "give the address of a picture, a folder or a shard"


def expand(address: PathLike) -> list[str]:
    """Return the addresses that one with ``*`` stands for.

    Parameters
    ----------
    address : str

    Returns
    -------
    list of str
        In order; the address itself where there is no star in it.

    Raises
    ------
    ImageSearchError
        If there is none, or they cannot be listed.
    MissingDependencyError
        If no package for such addresses is installed.
    """
    text = located(str(address))
    if "*" not in text:
        return [text]
    fs, path = file_system(text)
    named = naming(fs, text, path)
    try:
        found = sorted(named(name) for name in fs.glob(path))
    except FileNotFoundError:
        found = []
    except Exception as error:
        raise _unlisted(text, error) from error
    if not found:
        raise ImageSearchError(f"there is nothing at {text}; {_NOTHING}")
    return found


def find_remote(address: str, unwanted: Exclusions) -> Iterator[Entry]:
    """Find pictures at and below an address, a folder at a time.

    Parameters
    ----------
    address : str
        Of a picture, a folder, a tar file or a list of addresses.
    unwanted : Exclusions
        What is left out.

    Yields
    ------
    FoundImage, SkippedPath, LeftOut or Excluded
        As `semret.index.pictures.find.find_images` gives them; what a list names, or a web server without its length,
        has the size -1.

    Raises
    ------
    ImageSearchError
        If there is nothing, or it cannot be listed: part of a listing is never taken for the whole.
    MissingDependencyError
        If no package for such addresses is installed.
    """
    fs, path = file_system(address)
    if not path:
        raise ImageSearchError(f"{address} names no bucket or container; {_NOTHING}")
    try:
        if address.endswith(_LIST):
            yield from _listed(fs, path, address)
            return
        info, named = fs.info(path), naming(fs, address, path)
        if info["type"] == "directory" or (_is_web(address) and _suffix(address) not in {*SUFFIXES, _TAR}):
            yield from _below(fs, path, named, unwanted)
        else:
            yield from _file(fs, info, named(path), unwanted, given=True)
    except FileNotFoundError as error:
        raise ImageSearchError(f"there is nothing at {address}; {_NOTHING}") from error
    except (ImageSearchError, MissingDependencyError):
        raise
    except Exception as error:  # what the packages of all kinds of storage raise has no common class
        raise _unlisted(address, error) from error


def read_remote(found: FoundImage) -> FileContent:
    """Read a picture at an address.

    Parameters
    ----------
    found : FoundImage
        Its size is checked unless it is negative. Where nobody vouches for it, see `semret.index.pictures.trust`.

    Returns
    -------
    FileContent
        At least one and at most `MAX_BYTES`; size and hash are of what was read, the time is that of `found`.

    Raises
    ------
    ImageDecodeError
        If it cannot be read, is empty or too large; the message is ``ADDRESS: REASON``.
    """
    path, read_ns = found.path, time.time_ns()
    if found.size > MAX_BYTES:
        raise unreadable(path, f"has {found.size} bytes, more than the limit of {MAX_BYTES}")
    is_trusted = found.vouched or trusted(path)
    if not is_trusted:
        require_harmless(path)
    shard, name = split_shard(path)
    try:
        if path.startswith(_LOCAL):
            # Neither a pipe nor a device, which would keep it waiting.
            open_regular(file_system(shard)[1]).close()
        data = fetch(path, private=is_trusted) if _is_web(path) and name is None else _read(found)
    except (ImageDecodeError, MissingDependencyError):
        raise
    except ImageSearchError as error:
        # There is no such store, or no account for it; the message begins with the address.
        raise ImageDecodeError(str(error)) from error
    except FileNotFoundError as error:
        raise unreadable(path, "is not there") from error
    except Exception as error:  # as above
        raise unreadable(path, f"cannot be read: {reason(error)}") from error
    if not data:
        raise unreadable(path, "is empty")
    if len(data) > MAX_BYTES:
        raise unreadable(path, f"has more than the limit of {MAX_BYTES} bytes")
    digest = hashlib.sha256(data).hexdigest()
    return FileContent(path, data, digest, len(data), found.mtime_ns, read_ns)


def file_system(address: str) -> tuple[Any, str]:
    """Return what gives access to an address.

    Parameters
    ----------
    address : str

    Returns
    -------
    fsspec.AbstractFileSystem, str
        With the path in it.

    Raises
    ------
    ImageSearchError
        If there is no such kind of address, or no account for it.
    MissingDependencyError
        If no package for such addresses is installed.
    """
    try:
        import fsspec
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"{address} is read by fsspec, not installed here; run pip install 'semret[cluster]'"
        ) from error
    try:
        # A listing must be of now; this process may run for days.
        scheme, mark, rest = address.partition("://")
        fs, path = fsspec.core.url_to_fs(f"{scheme.lower()}{mark}{rest}", use_listings_cache=False)
    except ImportError as error:
        raise MissingDependencyError(f"{address} cannot be read: {cut_text(error)}") from error
    except Exception as error:  # each package has its own for an account that it does not find, or cannot make out
        known = scheme.lower() in fsspec.available_protocols()
        what = "cannot be opened" if known else "is no address that can be read"
        raise ImageSearchError(f"{address} {what}: {reason(error)}") from error
    return fs, path


def _unlisted(address: str, error: Exception) -> ImageSearchError:
    return ImageSearchError(f"{address} cannot be listed: {reason(error)}")


# -- finding


def _below(fs: Any, top: str, named: Callable[[str], str], unwanted: Exclusions) -> Iterator[Entry]:
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        folders, files = listing(fs, folder, may_be_gone=folder != top)
        below = []
        for path in sorted(folders):
            address = named(path)
            if unwanted.match(address, is_folder=True):
                yield Excluded(address, is_folder=True)
            else:
                below.append(path)
        waiting += reversed(below)
        for path in sorted(files):
            yield from _file(fs, files[path], named(files[path]["name"]), unwanted)


def _file(fs: Any, info: dict[str, Any], address: str, unwanted: Exclusions, *, given: bool = False) -> Iterator[Entry]:
    if address.lower().endswith(_TAR):
        yield from _members(fs, info, address, unwanted)
    else:
        size = info.get("size")
        told = (-1, -1) if size is None else (int(size), _stamp(info))
        yield from _entry(address, *told, unwanted, given=given)


def _entry(address: str, size: int, stamp: int, unwanted: Exclusions, *, given: bool = False) -> Iterator[Entry]:
    suffix = _suffix(address)
    kind = None if suffix in SUFFIXES or given else unread_kind(suffix)
    if suffix not in SUFFIXES and kind is None and not given:
        return
    if unwanted.match(address, is_folder=False):
        yield Excluded(address, is_folder=False)
    elif kind is not None:
        yield LeftOut(address, kind)
    elif not size:
        yield SkippedPath(address, "is empty")
    elif size > MAX_BYTES:
        yield SkippedPath(address, f"has {size} bytes, more than the limit of {MAX_BYTES}")
    else:
        yield FoundImage(address, size, stamp)


def _suffix(address: str) -> str:
    return posixpath.splitext(address)[1].lower()


def _is_web(address: str) -> bool:
    """Tell whether folders cannot be told from files but by what is said in them."""
    return address.startswith(("http://", "https://"))


def _stamp(info: dict[str, Any]) -> int:
    """Return the time of the last change; where it is not told, now: then it is read again by the next run."""
    value = next((info[name] for name in _STAMPS if info.get(name) is not None), None)
    if isinstance(value, datetime.datetime):
        return int(value.timestamp() * 10**6) * 1000
    if isinstance(value, (int, float)):
        return int(value * 10**9)
    return time.time_ns()


def _listed(fs: Any, path: str, address: str) -> Iterator[Entry]:
    """Give what a list names; relative addresses are seen from the list.

    Who names a list of this computer vouches for what it names; one from elsewhere may lead to its own store alone.
    """
    with fs.open(path, "rb") as stream:
        left = LIST_BYTES
        for line in stream:
            left -= len(line)
            if left < 0:
                raise ImageSearchError(f"{address} has more than {LIST_BYTES} bytes; split the list")
            text = line.decode("utf-8", "surrogateescape").strip()
            if text and not text.startswith("#"):
                whole = text if is_address(text) else _beside(address, text)
                yield FoundImage(whole, -1, -1, address.startswith(_LOCAL) or whole.startswith(_store(address)))


def _store(address: str) -> str:
    """Return the beginning that everything in the same store or on the same host has."""
    scheme, _, rest = address.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}/"


def _beside(address: str, name: str) -> str:
    if _is_web(address):
        return urljoin(address, name)
    return f"{address.rpartition('/')[0]}/{name}"


def _members(fs: Any, info: dict[str, Any], address: str, unwanted: Exclusions) -> Iterator[Entry]:
    """Give the pictures in a tar file; a shard that is written anew is another, whatever its members' times are."""
    stamp = _stamp(info)
    for name, (_, size) in _index(fs, info["name"]).items():
        parts = name.split("/")
        if ".." in parts or name.startswith("/"):
            yield SkippedPath(f"{address}/{name}", "has a name that leads out of its tar file")
        elif not any(part.startswith(".") for part in parts):
            yield from _entry(f"{address}/{name}", size, stamp, unwanted)


# -- reading


def _read(found: FoundImage) -> bytes:
    address = found.path
    shard, name = split_shard(address)
    fs, path = file_system(shard)
    if name is None:
        return bytes(fs.cat_file(path, start=0, end=MAX_BYTES + 1))
    # A shard that is written anew has another time: where its members lay before means nothing then.
    place = _places(shard, found.mtime_ns if found.mtime_ns >= 0 else _stamp(fs.info(path))).get(name)
    if place is None:
        raise unreadable(address, "is not in its tar file any more")
    start, length = place
    if length > MAX_BYTES:
        raise unreadable(address, f"has {length} bytes, more than the limit of {MAX_BYTES}")
    data = bytes(fs.cat_file(path, start=start, end=start + length)) if length else b""
    if len(data) != length:
        # A web server may send the whole file whatever part of it is asked for.
        raise unreadable(address, "is in a tar file that is not sent in parts; unpack it, or copy it to another store")
    return data


def split_shard(address: str) -> tuple[str, str | None]:
    """Return the tar file that an address leads into, and the member.

    Parameters
    ----------
    address : str

    Returns
    -------
    shard : str
        The address itself where it leads into none.
    member : str or None
    """
    place = address.find(f"{_TAR}/")
    if place < 0:
        return address, None
    return address[: place + len(_TAR)], address[place + len(_TAR) + 1 :]


def _places(shard: str, stamp: int) -> dict[str, tuple[int, int]]:
    with _LOCK:
        return _known_places(shard, stamp)


@functools.lru_cache(maxsize=8)
def _known_places(shard: str, stamp: int) -> dict[str, tuple[int, int]]:
    del stamp
    return _index(*file_system(shard))


def _index(fs: Any, path: str) -> dict[str, tuple[int, int]]:
    """Return where the members of a tar file begin in it, and how long they are; only their headers are read."""
    found: dict[str, tuple[int, int]] = {}
    with fs.open(path, "rb", block_size=_HEADER_BYTES) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
        for member in tar:
            if member.isreg() and not member.issparse():
                found.setdefault(member.name.removeprefix("./"), (member.offset_data, member.size))
            setattr(tar, "members", [])  # noqa: B010 - undocumented: it would keep all of them
    return found
