"""A plain folder of rendered pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from semret.eval.scenes.rooms import distinct_things, draw_condition, render_room
from semret.eval.scenes.writing import make_folder, require_counts, save_picture


def render_collection(directory: Path, n: int, seed: int = 0, *, size: tuple[int, int] = (480, 640)) -> list[Path]:
    """Write a folder of `n` pictures, four of each scene: the same things arranged and lit differently.

    Parameters
    ----------
    directory : Path
        Created if need be; files ``scene-SSS-V.jpg`` in it are replaced.
    n : int
        Number of pictures, at least 1.
    seed : int
        The same seed gives the same files.
    size : (int, int)
        Height and width.

    Returns
    -------
    list of Path
        In the order of their names.

    Raises
    ------
    ArgumentError, StorageError
        If `n` is out of range, or the directory cannot be written.
    """
    require_counts(n=n)
    make_folder(directory)
    rng = np.random.default_rng([seed, 3])
    contents = distinct_things(rng, -(-n // 4))
    paths = []
    for number in range(n):
        scene, view = divmod(number, 4)
        condition = draw_condition(rng, rooms=max(4, len(contents) // 2))
        picture, _ = render_room(contents[scene], condition, seed=int(rng.integers(2**31)), size=size)
        paths.append(directory / f"scene-{scene + 1:03d}-{view + 1}.jpg")
        save_picture(picture, paths[-1])
    return paths
