"""Copies of rendered pictures, and pictures that are none: other frames, other arrangements, other recordings."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFont

from semret.eval.scenes.rooms import Condition, Thing, distinct_things, draw_condition, render_room
from semret.eval.scenes.writing import fresh_folder, require_counts, save_picture
from semret.index.pictures.decode import decode_image
from semret.progress import Progress

STEPS = (0.02, 0.05, 0.1)
"""How far the camera goes between two frames, see `semret.eval.scenes.rooms.render_room`."""

_WORDS = ("SALE", "draft", "Copyright 2024", "see you tomorrow", "no. 4711", "BREAKING", "my kitchen", "50 % off")

Change = Callable[[Image.Image, np.random.Generator], Image.Image]


@dataclass(frozen=True)
class Derived:
    """One rendered picture.

    Attributes
    ----------
    path : Path
    scene : int
        Of the original that it comes from.
    kind : str
        A name in `COPIES` or `OTHERS`, or ``original``.
    """

    path: Path
    scene: int
    kind: str

    @property
    def is_copy(self) -> bool:
        """Whether it is a copy of the original, or that itself."""
        return self.kind == "original" or self.kind in COPIES

    @property
    def is_frame(self) -> bool:
        """Whether it shows the original's arrangement from a little aside."""
        return self.kind in FRAMES


def _resize(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    scale = float(rng.choice([0.25, 0.4, 0.6, 1.6]))
    return picture.resize([round(scale * side) for side in picture.size], Image.Resampling.BICUBIC)


def _recompress(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=int(rng.integers(30, 91)))
    return Image.open(stream).convert("RGB")


def _crop(share: float) -> Change:
    """Return what cuts this share of the area away, at the same aspect ratio."""

    def crop(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
        width, height = (round(side * (1 - share) ** 0.5) for side in picture.size)
        left, top = int(rng.integers(picture.width - width + 1)), int(rng.integers(picture.height - height + 1))
        return picture.crop((left, top, left + width, top + height))

    return crop


def _mirror(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    del rng
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def _recolour(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    brighter = ImageEnhance.Brightness(picture).enhance(float(rng.uniform(0.65, 1.4)))
    return ImageEnhance.Color(brighter).enhance(float(rng.uniform(0.3, 1.8)))


def _grey(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    del rng
    return picture.convert("L").convert("RGB")


def _write_over(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Write a line across the picture, on a bar or without one."""
    written = picture.copy()
    draw, height = ImageDraw.Draw(written), picture.height // int(rng.integers(7, 12))
    top = int(rng.integers(0, picture.height - height))
    if rng.random() < 0.5:
        draw.rectangle((0, top, picture.width, top + height), fill=(20, 20, 20))
    place = (int(rng.integers(0, picture.width // 4)), top)
    draw.text(place, str(rng.choice(_WORDS)), fill=(255, 240, 60), font=ImageFont.load_default(0.75 * height))
    return written


COPIES: dict[str, Change] = {
    "resized": _resize,
    "recompressed": _recompress,
    "recoloured": _recolour,
    "grey": _grey,
    "text over it": _write_over,
    "cropped 5 %": _crop(0.05),
    "cropped 10 %": _crop(0.1),
    "cropped 20 %": _crop(0.2),
    "cropped 30 %": _crop(0.3),
    "mirrored": _mirror,
}
"""What is done to a picture, by its name: each makes a copy."""

FRAMES = {f"next frame, {100 * step:g} %": step for step in STEPS}
"""Pictures of the same arrangement, to the camera's step."""

OTHERS = (*FRAMES, "rearranged", "elsewhere")
"""Pictures of the same scene that are no copies: the camera went aside; the things moved; another room and light."""


def render_copies(
    directory: Path,
    scenes: int,
    seed: int = 0,
    *,
    size: tuple[int, int] = (480, 640),
    progress: Progress | None = None,
) -> list[Derived]:
    """Write originals, their copies, and other pictures of the same scenes into a new folder.

    Parameters
    ----------
    directory : Path
        Must be empty or not exist.
    scenes : int
        Different originals, at least 1.
    seed : int
        The same seed gives the same files.
    size : (int, int)
        Height and width of the originals.
    progress : callable or None
        Called with scenes done and their total.

    Returns
    -------
    list of Derived
        In the order of scenes; of each the original first, then `COPIES`, then `OTHERS`.

    Raises
    ------
    ArgumentError, StorageError
        If `scenes` is out of range, or the directory holds something or cannot be written.
    """
    require_counts(scenes=scenes)
    rng = np.random.default_rng([seed, 17])
    scenes_of_pictures = (_rendered(things, scenes, size, rng) for things in distinct_things(rng, scenes))
    return _save(directory, scenes_of_pictures, scenes, progress)


def copy_pictures(
    directory: Path, originals: list[Path], seed: int = 0, *, progress: Progress | None = None
) -> list[Derived]:
    """Write pictures and their copies into a new folder.

    Parameters
    ----------
    directory : Path
        Must be empty or not exist.
    originals : list of Path
        Different pictures.
    seed : int
        The same seed gives the same copies.
    progress : callable or None
        Called with pictures done and their total.

    Returns
    -------
    list of Derived
        In the order of `originals`; of each the original first, then `COPIES`.

    Raises
    ------
    ArgumentError, StorageError
        If the directory holds something or cannot be written.
    ImageDecodeError
        If a picture cannot be read.
    """
    rng = np.random.default_rng([seed, 19])
    copied = ({"original": picture, **_copies(picture, rng)} for picture in map(decode_image, originals))
    return _save(directory, copied, len(originals), progress)


def _save(
    directory: Path, scenes: Iterable[dict[str, Image.Image]], total: int, progress: Progress | None
) -> list[Derived]:
    fresh_folder(directory)
    found: list[Derived] = []
    for scene, pictures in enumerate(scenes):
        for number, (kind, picture) in enumerate(pictures.items()):
            path = directory / f"{scene + 1:04d}-{number:02d}.jpg"
            save_picture(picture, path)
            found.append(Derived(path, scene, kind))
        if progress is not None:
            progress(scene + 1, total)
    return found


def _copies(original: Image.Image, rng: np.random.Generator) -> dict[str, Image.Image]:
    return {kind: change(original, rng) for kind, change in COPIES.items()}


def _rendered(
    things: list[Thing], scenes: int, size: tuple[int, int], rng: np.random.Generator
) -> dict[str, Image.Image]:
    # Rooms are shared by scenes, so that what surrounds the things does not tell them apart.
    condition, elsewhere = (draw_condition(rng, rooms=max(4, scenes // 3)) for _ in range(2))
    places, others, apart = (int(seed) for seed in rng.integers(2**31, size=3))
    original, _ = render_room(things, condition, seed=places, size=size)
    found = {"original": original, **_copies(original, rng)}
    for kind, step in FRAMES.items():
        found[kind], _ = render_room(things, condition, seed=places, size=size, step=step)
    found["rearranged"], _ = render_room(things, condition, seed=others, size=size)
    found["elsewhere"], _ = render_room(things, _in_room(elsewhere, condition), seed=apart, size=size)
    return found


def _in_room(elsewhere: Condition, condition: Condition) -> Condition:
    """Return another recording, in another room for certain."""
    return replace(elsewhere, room=elsewhere.room + (elsewhere.room == condition.room))
