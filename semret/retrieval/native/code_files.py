"""Files of machine code: where they lie, for what they are valid, and whether they can be trusted.

They are trusted as Python's own bytecode is: in the folder of the installation or the user's cache, never in a folder
that other users own or can write to. An index contains none.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import stat
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import platformdirs

from semret.foreign import is_ours

_MAGIC = b"semret machine code 1\n"
_RETRIEVAL = Path(__file__).parent.parent
_SOURCES = (
    "matching/auction_loops.py",
    "matching/bound_loops.py",
    "matching/float_keys.py",
    "matching/greedy_loops.py",
    "native/byte_products.py",
    "native/compiler.py",
    "native/emit.py",
    "native/scratch.py",
    "native/tile_products.py",
    "native/tiles.py",
    "similarity/coarse_loops.py",
    "similarity/integer_loops.py",
    "similarity/product_loops.py",
)
"""Files that machine code is made from; a missing one raises an error at the first use."""
_HARMLESS = {"NUMBA_CACHE_DIR", "NUMBA_NUM_THREADS"}


@dataclass(frozen=True, kw_only=True)
class Code:
    """A function as an object file (ELF, Mach-O or COFF), and the symbol that it has there."""

    symbol: str
    machine_code: bytes


@cache
def _environment() -> bytes:
    """Return all that machine code depends on: sources, compilers, their settings, and the processor."""
    import llvmlite
    import llvmlite.binding as llvm

    digest = hashlib.sha256()
    for name in _SOURCES:
        digest.update(hashlib.sha256((_RETRIEVAL / name).read_bytes()).digest())
    settings = sorted(item for item in os.environ.items() if item[0].startswith("NUMBA_") and item[0] not in _HARMLESS)
    machine = llvm.get_process_triple(), llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
    digest.update(json.dumps([llvmlite.__version__, settings, machine]).encode())
    digest.update(_numba_version())
    return digest.digest()


def _numba_version() -> bytes:
    """Return what tells versions of Numba apart, without importing it."""
    found = importlib.util.find_spec("numba")
    if found is None or found.origin is None:
        return b""
    version = Path(found.origin).with_name("_version.py")
    if version.is_file():
        return version.read_bytes()
    status = Path(found.origin).stat()
    return f"{status.st_size} {status.st_mtime_ns}".encode()


def identity(title: str) -> str:
    """Return the digest that machine code must carry to be used in this process.

    Parameters
    ----------
    title : str
        Name of the loop and the types of its arguments.

    Returns
    -------
    str
        Hexadecimal.
    """
    return hashlib.sha256(_environment() + title.encode()).hexdigest()


def folders() -> list[Path]:
    """Return where machine code may lie, best first: `NUMBA_CACHE_DIR` alone if set.

    Else that is the package's ``__pycache__``, as of bytecode, and the user's cache folder, unless it is unknown where
    that is: without HOME, and of a user whom the system does not list.

    Returns
    -------
    list of Path
        They need not exist.
    """
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    if chosen:
        return [Path(chosen, "semret")]
    of_package = Path(__file__).parent / "__pycache__"
    try:
        of_user = platformdirs.user_cache_path("semret", appauthor=False)
    except RuntimeError:
        return [of_package]
    # Older releases leave "~" as it is instead, which would be a folder of that name right here.
    return [of_package, of_user] if of_user.is_absolute() else [of_package]


def can_keep(folder: Path) -> bool:
    """Tell whether machine code can be kept in a folder for later processes.

    Parameters
    ----------
    folder : Path
        Made if it does not exist.

    Returns
    -------
    bool
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return is_ours(folder.stat()) and os.access(folder, os.W_OK | os.X_OK)
    except OSError:
        return False


def read(folder: Path, title: str, identity: str) -> Code | None:
    """Read machine code.

    Parameters
    ----------
    folder : Path
    title, identity : str
        See `identity`.

    Returns
    -------
    Code or None
        None if there is none, it is of another identity, damaged, or others may have written it.
    """
    file = folder / _file_name(title, identity)
    try:
        with file.open("rb") as stream:
            if not (is_ours(folder.stat()) and is_ours(os.fstat(stream.fileno()))):
                return None
            content = stream.read()
    except OSError:
        return None
    return _parse(content, identity)


def _parse(content: bytes, identity: str) -> Code | None:
    magic, checksum, body = content[: len(_MAGIC)], content[len(_MAGIC) :][:32], content[len(_MAGIC) + 32 :]
    if magic != _MAGIC or checksum != hashlib.sha256(body).digest():
        return None
    header, _, machine_code = body.partition(b"\n")
    own, _, symbol = header.decode("ascii").partition(" ")
    return Code(symbol=symbol, machine_code=machine_code) if own == identity else None


def write(folder: Path, title: str, identity: str, code: Code) -> bool:
    """Keep machine code for later processes.

    Parameters
    ----------
    folder : Path
    title, identity : str
        See `identity`.
    code : Code

    Returns
    -------
    bool
        Whether it could be kept.
    """
    body = f"{identity} {code.symbol}\n".encode("ascii") + code.machine_code
    if not can_keep(folder):
        return False
    try:
        descriptor, name = tempfile.mkstemp(dir=folder)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(_MAGIC + hashlib.sha256(body).digest() + body)
            Path(name).chmod(stat.S_IMODE(folder.stat().st_mode) & 0o644)
            Path(name).replace(folder / _file_name(title, identity))
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError:
        return False
    return True


def _file_name(title: str, identity: str) -> str:
    return f"{title}.{identity[:24]}.o"
