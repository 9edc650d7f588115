"""Pictures of things in a room: the same things arranged, lit and seen differently from picture to picture."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from semret.arrays import Float32Array
from semret.eval.scenes.materials import Colour, Material, Pattern, draw_colour, paint, smooth_noise, to_bytes
from semret.eval.scenes.things import CATEGORIES, THINGS, draw_thing

MOST_COVERED = 0.45
"""Largest share of a thing's box that others may cover."""

WALLS: dict[Pattern, float] = {"plain": 0.1, "stripes": 0.06, "dots": 0.06, "zigzag": 0.06, "checks": 0.05}
TOPS: dict[Pattern, float] = {"plain": 0.1, "grain": 0.05, "bands": 0.09, "checks": 0.1, "speckle": 0.04}
"""Patterns of walls and table tops, with their periods as shares of the width."""

WARM = (0.05, 0.13)
"""Hues of wood."""


@dataclass(frozen=True)
class Thing:
    """One object: its category and the seed of its looks."""

    category: str
    seed: int


@dataclass(frozen=True)
class Placed:
    """A thing in a picture: its index in the scene and its visible box (x, y, width, height) in pixels."""

    thing: int
    box: tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class Condition:
    """How one recording shows a scene: its room (a seed), light, and nearness.

    Attributes
    ----------
    room : int
        Seed of wall, table top and where they meet.
    brightness, contrast : float
        1 is neutral.
    tint : (float, float, float)
        Factor of each colour channel.
    glow : float
        Horizontal place of the light in 0..1.
    nearness : float
        Scale of all things.
    """

    room: int
    brightness: float
    contrast: float
    tint: Colour
    glow: float
    nearness: float


def draw_things(rng: np.random.Generator, *, fewest: int = 4, most: int = 8, looks: int = 6) -> list[Thing]:
    """Draw the things of a scene: up to three of a category, each category in `looks` different looks overall.

    Parameters
    ----------
    rng : numpy.random.Generator
    fewest, most : int
        Things of the scene.
    looks : int
        Different seeds of a category.

    Returns
    -------
    list of Thing
    """
    count = int(rng.integers(fewest, most + 1))
    kinds = rng.permutation(len(CATEGORIES))
    things: list[Thing] = []
    for kind in kinds:
        several = min(int(rng.choice([1, 1, 1, 2, 3])), count - len(things))
        things += [Thing(CATEGORIES[kind], int(seed)) for seed in rng.choice(looks, size=several, replace=False)]
        if len(things) == count:
            break
    return things


def distinct_things(rng: np.random.Generator, count: int) -> list[list[Thing]]:
    """Draw the contents of scenes, no two with the same numbers of each category.

    Parameters
    ----------
    rng : numpy.random.Generator
    count : int
        Scenes.

    Returns
    -------
    list of list of Thing
    """
    contents: dict[frozenset[tuple[str, int]], list[Thing]] = {}
    while len(contents) < count:
        things = draw_things(rng)
        contents.setdefault(frozenset(Counter(thing.category for thing in things).items()), things)
    return list(contents.values())


def draw_condition(rng: np.random.Generator, rooms: int) -> Condition:
    """Draw how a recording shows its scene, in one of `rooms` different rooms.

    Parameters
    ----------
    rng : numpy.random.Generator
    rooms : int

    Returns
    -------
    Condition
    """
    warmth = float(rng.uniform(-0.16, 0.16))
    return Condition(
        room=int(rng.integers(rooms)),
        brightness=float(rng.uniform(0.7, 1.2)),
        contrast=float(rng.uniform(0.8, 1.1)),
        tint=(1 + warmth, 1.0, 1 - warmth),
        glow=float(rng.uniform(0.1, 0.9)),
        nearness=float(rng.uniform(0.75, 1.25)),
    )


def render_room(
    things: list[Thing], condition: Condition, *, seed: int, size: tuple[int, int] = (360, 640), step: float = 0.0
) -> tuple[Image.Image, list[Placed]]:
    """Render one picture of a scene.

    Parameters
    ----------
    things : list of Thing
        All of them are in the picture, each at least partly visible.
    condition : Condition
    seed : int
        Decides the arrangement: where each thing stands, how large, turned or mirrored it is.
    size : (int, int)
        Height and width in pixels.
    step : float
        How far the camera went to the left, as what the nearest things move by, in widths of the picture: things move
        the more the nearer they are, and the wall does not.

    Returns
    -------
    image : PIL.Image.Image
        RGB.
    placed : list of Placed
        One for each thing, in the order of `things`.
    """
    rng = np.random.default_rng([seed, 7])
    picture = _room(condition.room, size).copy()
    sprites = [_pose(thing, condition, size[0], rng) for thing in things]
    boxes = _arrange([sprite.size for sprite in sprites], _horizon(condition.room), size, rng)
    boxes = [(x + round(step * size[1] * (y + high) / size[0]), y, wide, high) for x, y, wide, high in boxes]
    for index in sorted(range(len(things)), key=lambda index: boxes[index][1] + boxes[index][3]):
        x, y, _, _ = boxes[index]
        _cast_shadow(picture, boxes[index])
        picture.paste(sprites[index], (x, y), sprites[index])
    lit = _light(np.asarray(picture).astype(np.float32) / np.float32(255), condition, rng)
    placed = [Placed(index, _clip(box, size)) for index, box in enumerate(boxes)]
    return Image.fromarray(to_bytes(lit), "RGB"), placed


@lru_cache(maxsize=512)
def _sprite(thing: Thing) -> Image.Image:
    return draw_thing(thing.category, thing.seed)


def _pose(thing: Thing, condition: Condition, height: int, rng: np.random.Generator) -> Image.Image:
    """Scale, mirror and turn the drawing of a thing."""
    sprite = _sprite(thing)
    if rng.random() < 0.5:
        sprite = sprite.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    longest = 0.29 * height * THINGS[thing.category][1] * condition.nearness * rng.uniform(0.8, 1.2)
    scale = longest / max(sprite.size)
    sprite = sprite.resize([max(4, round(scale * side)) for side in sprite.size], Image.Resampling.BILINEAR)
    turned = sprite.rotate(float(rng.normal(0, 9)), Image.Resampling.BICUBIC, expand=True)
    return turned.crop(turned.getbbox())


def _arrange(
    sizes: list[tuple[int, int]], horizon: float, size: tuple[int, int], rng: np.random.Generator
) -> list[tuple[int, int, int, int]]:
    """Find a place for each sprite; of several tries the least covered, and good enough at once."""
    height, width = size
    boxes: list[tuple[int, int, int, int]] = []
    for sprite_width, sprite_height in sizes:
        best, least = (0, 0, sprite_width, sprite_height), np.inf
        for _ in range(40):
            x = int(rng.integers(-sprite_width // 8, width - sprite_width + sprite_width // 8 + 1))
            foot = int(rng.uniform(horizon + 0.06, 0.985) * height)
            box = (x, max(foot - sprite_height, -sprite_height // 8), sprite_width, sprite_height)
            covered = max((_overlap(box, other) for other in boxes), default=0.0)
            if covered < least:
                best, least = box, covered
            if covered <= MOST_COVERED * rng.random():
                break
        boxes.append(best)
    return boxes


def _overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> float:
    """Return the common area of two boxes as a share of the smaller."""
    across = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    down = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return max(across, 0) * max(down, 0) / min(a[2] * a[3], b[2] * b[3])


def _clip(box: tuple[int, int, int, int], size: tuple[int, int]) -> tuple[float, float, float, float]:
    x0, y0 = max(box[0], 0), max(box[1], 0)
    x1, y1 = min(box[0] + box[2], size[1]), min(box[1] + box[3], size[0])
    return float(x0), float(y0), float(x1 - x0), float(y1 - y0)


def _cast_shadow(picture: Image.Image, box: tuple[int, int, int, int]) -> None:
    x, y, width, height = box
    depth = max(6, height // 7)
    patch = Image.fromarray(_shadow_mask(width + 20, depth), "L")
    picture.paste((18, 14, 12), (x - 10, y + height - (2 * depth) // 3), patch)


def _shadow_mask(width: int, depth: int) -> NDArray[np.uint8]:
    u = np.linspace(-1, 1, width, dtype=np.float32)[None]
    v = np.linspace(-1, 1, depth, dtype=np.float32)[:, None]
    return to_bytes(0.5 * np.clip(1 - u**2 - v**2, 0, 1))


def _horizon(room: int) -> float:
    """Return where the table top begins, as a share of the height."""
    return float(np.random.default_rng([room, 11]).uniform(0.3, 0.5))


@lru_cache(maxsize=64)
def _room(seed: int, size: tuple[int, int]) -> Image.Image:
    """Render an empty room: a papered wall and a table top."""
    rng = np.random.default_rng([seed, 13])
    height, width = size
    edge = int(_horizon(seed) * height)
    wall = _surface(rng, (edge, width), WALLS, (0.0, 1.0))
    table = _surface(rng, (height - edge, width), TOPS, WARM if rng.random() < 0.6 else (0.0, 1.0))
    wall *= np.linspace(0.85, 1.05, edge, dtype=np.float32)[:, None, None]
    table *= np.linspace(0.78, 1.05, height - edge, dtype=np.float32)[:, None, None]
    room = np.concatenate([wall, table])
    room *= 0.94 + 0.12 * smooth_noise((height, width), seed, 90)[..., None]
    room[max(edge - 3, 0) : edge + 3] *= 0.6
    return Image.fromarray(to_bytes(room), "RGB").filter(ImageFilter.GaussianBlur(0.8))


def _surface(
    rng: np.random.Generator, size: tuple[int, int], patterns: dict[Pattern, float], hue: tuple[float, float]
) -> Float32Array:
    """Render a wall or a table top in two tones of one muted colour."""
    base = draw_colour(rng, hue=hue, saturation=(0.1, 0.5), value=(0.6, 0.95))
    red, green, blue = (channel * float(rng.uniform(0.8, 0.95)) for channel in base)
    pattern = list(patterns)[int(rng.integers(len(patterns)))]
    material = Material(
        base=base,
        accent=(red, green, blue),
        pattern=pattern,
        period=patterns[pattern] * float(rng.uniform(0.6, 1.4)),
        seed=int(rng.integers(2**31)),
    )
    return paint(material, size)


def _light(image: Float32Array, condition: Condition, rng: np.random.Generator) -> Float32Array:
    """Apply a recording's light: brightness, tint, contrast, a glow from one side, dark corners, sensor noise."""
    height, width = image.shape[:2]
    x = np.linspace(0, 1, width, dtype=np.float32)[None] - condition.glow
    y = np.linspace(-0.5, 0.5, height, dtype=np.float32)[:, None]
    falloff = 1.12 - 0.45 * (x**2 + y**2)
    gain = np.asarray(condition.tint, dtype=np.float32) * condition.brightness
    lit = image * falloff[..., None] * gain
    lit = (lit - 0.5) * condition.contrast + 0.5
    grain = rng.standard_normal((height, width, 1), dtype=np.float32)
    return np.asarray(lit + 0.012 * grain, dtype=np.float32)
