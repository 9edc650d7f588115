"""Where folders lie: what tells that a drive has gone or come, and that its changes are not told of."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from semret.index.store.root import lies_in

_MOUNTS = Path("/proc/self/mountinfo")

_REMOTE = re.compile(
    r"nfs\d?|cifs|smb\d?|smbfs|afs|9p|ceph|glusterfs|lustre|beegfs|gpfs|ocfs2|gfs2|ncpfs|virtiofs|vboxsf|prl_fs|"
    r"fuse\.(sshfs|rclone|s3fs|gcsfuse|glusterfs|ceph.*|davfs|juicefs|mergerfs|vmhgfs-fuse)|davfs|drvfs"
)
"""File systems that others change too, or whose changes the system does not hear of."""

Place: TypeAlias = "tuple[int, int] | None"
"""Device and number of a file or folder; None where it is not there."""


@dataclass(frozen=True)
class Mount:
    """A file system in the tree of folders.

    Attributes
    ----------
    point : str
        Folder that it is mounted on.
    kind : str
        Such as ``ext4`` or ``nfs4``.
    """

    point: str
    kind: str


def read_mounts() -> list[Mount]:
    """Return the file systems that are mounted, in the order of mounting.

    Returns
    -------
    list of Mount
        Empty where the system does not tell.
    """
    try:
        lines = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        fields, _, rest = line.partition(" - ")
        parts, kinds = fields.split(" "), rest.split(" ")
        if len(parts) > 4 and kinds[0]:
            found.append(Mount(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), parts[4]), kinds[0]))
    return found


def mounts_at(folder: str, mounts: list[Mount]) -> list[Mount]:
    """Return the file system that a folder lies in, and those mounted below it.

    Parameters
    ----------
    folder : str
        Absolute.
    mounts : list of Mount

    Returns
    -------
    list of Mount
        The one it lies in first; empty if there are no `mounts`.
    """
    real = os.path.realpath(folder)
    # Of several mounted on one folder, the last is seen.
    own = max((mount for mount in mounts if lies_in(real, [mount.point])), key=lambda one: len(one.point), default=None)
    below = [mount for mount in mounts if mount.point != real and lies_in(mount.point, [real])]
    seen = [mount for mount in mounts if own is not None and mount.point == own.point][-1:]
    return [*seen, *below]


def remote_kind(folder: str, mounts: list[Mount]) -> str | None:
    """Tell whether changes in a folder may go unheard, since it or a part of it lies in a network.

    Parameters
    ----------
    folder : str
        Absolute.
    mounts : list of Mount

    Returns
    -------
    str or None
        The kind of the file system; None if it is a local one, as far as is known.
    """
    return next((mount.kind for mount in mounts_at(folder, mounts) if _REMOTE.fullmatch(mount.kind)), None)


def place_of(path: str) -> Place:
    """Return what a path leads to.

    Parameters
    ----------
    path : str

    Returns
    -------
    Place
    """
    try:
        found = os.stat(path)  # noqa: PTH116 - follows pathlib, without its cost each second
    except OSError:
        return None
    return found.st_dev, found.st_ino
