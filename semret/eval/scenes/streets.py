"""Pictures of streets with the class of every pixel, as polygons painted one over another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from semret.eval.scenes.materials import Colour, Material, draw_colour, paint, smooth_noise, to_bytes

Point = tuple[float, float]

ALWAYS = ("road", "sky")
"""Classes in every street."""

SOMETIMES: dict[str, float] = {
    "sidewalk": 0.75, "building": 0.75, "vegetation": 0.6, "terrain": 0.35, "wall": 0.3, "fence": 0.3, "pole": 0.5,
    "traffic light": 0.4, "traffic sign": 0.45, "car": 0.75, "truck": 0.25, "bus": 0.25, "train": 0.15, "person": 0.5,
    "rider": 0.2, "bicycle": 0.3, "motorcycle": 0.2,
}  # fmt: skip
"""Other classes and how often a street has them."""


@dataclass(frozen=True)
class Region:
    """A labelled polygon in pixels, x to the right and y down, and how it is painted."""

    label: str
    polygon: tuple[Point, ...]
    material: Material


@dataclass(frozen=True, kw_only=True)
class Look:
    """What pictures of one city have in common: weather, light and building colours."""

    sky: Colour
    brightness: float
    warmth: float
    haze: float
    seed: int


def draw_content(rng: np.random.Generator) -> frozenset[str]:
    """Draw the set of classes of a street.

    Parameters
    ----------
    rng : numpy.random.Generator

    Returns
    -------
    frozenset of str
    """
    chosen = {label for label, often in SOMETIMES.items() if rng.random() < often}
    return frozenset(chosen | set(ALWAYS))


def draw_look(rng: np.random.Generator) -> Look:
    """Draw the look of a city.

    Parameters
    ----------
    rng : numpy.random.Generator

    Returns
    -------
    Look
    """
    return Look(
        sky=draw_colour(rng, hue=(0.52, 0.62), saturation=(0.05, 0.5), value=(0.6, 1.0)),
        brightness=float(rng.uniform(0.7, 1.1)),
        warmth=float(rng.uniform(-0.1, 0.12)),
        haze=float(rng.uniform(0, 0.3)),
        seed=int(rng.integers(2**31)),
    )


def render_street(
    content: frozenset[str], look: Look, *, seed: int, size: tuple[int, int] = (256, 512)
) -> tuple[Image.Image, list[Region]]:
    """Render one street.

    Parameters
    ----------
    content : frozenset of str
        Classes to show, of `ALWAYS` and `SOMETIMES`; each of them is visible.
    look : Look
    seed : int
        Decides where everything is.
    size : (int, int)
        Height and width in pixels.

    Returns
    -------
    image : PIL.Image.Image
        RGB.
    regions : list of Region
        From back to front: painting them in this order gives the class of each pixel.
    """
    rng = np.random.default_rng([seed, 17])
    regions = _Street(content, look, rng, size).regions
    picture = Image.new("RGB", (size[1], size[0]))
    for region in regions:
        _paint(picture, region)
    pixels = np.asarray(picture.filter(ImageFilter.GaussianBlur(0.6))).astype(np.float64) / 255
    pixels = pixels * (1 - look.haze) + look.haze * np.asarray(look.sky)
    pixels *= look.brightness * np.asarray([1 + look.warmth, 1, 1 - look.warmth])
    pixels *= 0.92 + 0.16 * smooth_noise(size, seed, 40)[..., None]
    pixels += 0.015 * rng.standard_normal((*size, 1))
    return Image.fromarray(to_bytes(pixels), "RGB"), regions


def _paint(picture: Image.Image, region: Region) -> None:
    mask = Image.new("L", picture.size, 0)
    ImageDraw.Draw(mask).polygon(list(region.polygon), fill=255)
    bounds = mask.getbbox()
    if bounds is None:
        return
    left, top, right, bottom = bounds
    texture = Image.fromarray(to_bytes(paint(region.material, (bottom - top, right - left))), "RGB")
    picture.paste(texture, (left, top), mask.crop(bounds))


class _Street:
    """Collects the regions of one street, from the sky forward."""

    def __init__(self, content: frozenset[str], look: Look, rng: np.random.Generator, size: tuple[int, int]) -> None:
        self.content, self.look, self.rng = content, look, rng
        self.height, self.width = size
        self.regions: list[Region] = []
        self.horizon = float(rng.uniform(0.42, 0.52))
        self.vanishing = float(rng.uniform(0.35, 0.65))
        self._ground()
        self._backdrop()
        self._roadside()
        for label in ("train", "bus", "truck", "car", "person", "motorcycle", "bicycle", "rider"):
            if label in content:
                self._traffic(label)

    def _add(self, label: str, points: list[Point], colour: Colour, pattern: str = "plain", contrast: float = 0.8,
             period: float = 0.1) -> None:  # fmt: skip
        red, green, blue = (channel * contrast for channel in colour)
        material = Material(
            base=colour,
            accent=(red, green, blue),
            pattern=pattern,  # type: ignore[arg-type]
            period=period,
            seed=int(self.rng.integers(2**31)),
        )
        self.regions.append(
            Region(label, tuple((round(x * self.width, 1), round(y * self.height, 1)) for x, y in points), material)
        )

    def _grey(self, low: float, high: float) -> Colour:
        return draw_colour(self.rng, hue=(0.55, 0.7), saturation=(0.02, 0.12), value=(low, high))

    def _ground(self) -> None:
        h, v = self.horizon, self.vanishing
        self._add("sky", _box(-0.1, -0.1, 1.1, h + 0.02), self.look.sky)
        ground: tuple[str, Colour, str]
        if "sidewalk" in self.content:
            ground = ("sidewalk", self._grey(0.55, 0.75), "checks")
        elif "terrain" in self.content:
            ground = ("terrain", (0.5, 0.55, 0.28), "speckle")
        else:
            ground = ("road", self._grey(0.3, 0.42), "speckle")
        self._add(ground[0], _box(-0.1, h, 1.1, 1.1), ground[1], ground[2], 0.85, 0.05)
        if "terrain" in self.content and ground[0] != "terrain":
            side = -0.1 if self.rng.random() < 0.5 else 1.1
            self._add("terrain", [(v, h), (side, h), (side, 0.85)], (0.5, 0.55, 0.28), "speckle", 0.85, 0.06)
        self._add("road", [(v - 0.05, h), (v + 0.05, h), (0.98, 1.1), (0.02, 1.1)], self._grey(0.3, 0.42), "speckle",
                  0.9, 0.04)  # fmt: skip
        for near in (0.3, 0.5, 0.75):
            y = h + (1 - h) * near
            self._add("road", [(v - 0.006, y), (v + 0.006, y), (v + 0.014, y + 0.07), (v - 0.014, y + 0.07)],
                      (0.85, 0.85, 0.8))  # fmt: skip

    def _backdrop(self) -> None:
        h, rng = self.horizon, self.rng
        if "building" in self.content:
            edges = np.sort(rng.uniform(0, 1, int(rng.integers(2, 6)))).tolist()
            for left, right in pairwise([-0.1, *edges, 1.1]):
                if rng.random() < 0.8 or left < 0:
                    colour = draw_colour(rng, hue=(0.02, 0.14), saturation=(0.1, 0.5), value=(0.45, 0.85))
                    top = h - float(rng.uniform(0.18, 0.4))
                    self._add("building", _box(left, top, right, h + 0.03), colour, "checks", 0.6, 0.06)
        if "vegetation" in self.content:
            for _ in range(int(rng.integers(2, 6))):
                colour = draw_colour(rng, hue=(0.22, 0.36), saturation=(0.4, 0.7), value=(0.25, 0.5))
                x, r = float(rng.uniform(0.02, 0.98)), float(rng.uniform(0.05, 0.12))
                self._add("vegetation", _blob(rng, x, h - 0.6 * r, r, 1.6 * r), colour, "speckle", 0.7, 0.08)
        side = self._side()
        if "wall" in self.content:
            low, high = sorted((side, side + (0.3 if side < 0.5 else -0.3)))
            self._add("wall", _box(low, h - 0.06, high, h + 0.06), (0.6, 0.56, 0.5), "bands", 0.8, 0.06)
        if "fence" in self.content:
            side = 1 - side
            low, high = sorted((side, side + (0.28 if side < 0.5 else -0.28)))
            self._add("fence", _box(low, h - 0.03, high, h + 0.09), (0.75, 0.75, 0.72), "stripes", 0.35, 0.05)

    def _side(self) -> float:
        return -0.02 if self.rng.random() < 0.5 else 1.02

    def _roadside(self) -> None:
        rng, h = self.rng, self.horizon
        for label, colour in (("pole", (0.35, 0.36, 0.38)), ("traffic light", (0.1, 0.12, 0.1)),
                              ("traffic sign", (0.15, 0.3, 0.75))):  # fmt: skip
            if label not in self.content:
                continue
            for _ in range(int(rng.integers(1, 4))):
                x = float(rng.choice([rng.uniform(0.04, 0.3), rng.uniform(0.7, 0.96)]))
                top = h - float(rng.uniform(0.16, 0.32))
                if "pole" in self.content:
                    self._add("pole", _box(x - 0.006, top, x + 0.006, h + 0.14), (0.35, 0.36, 0.38))
                if label == "traffic light":
                    self._add(label, _box(x - 0.016, top, x + 0.016, top + 0.13), colour)
                    lamp = ((0.9, 0.15, 0.1), (0.95, 0.7, 0.1), (0.1, 0.85, 0.3))[int(rng.integers(3))]
                    self._add(label, _oval(x, top + 0.03, 0.009, 0.018), lamp)
                elif label == "traffic sign":
                    tint = colour if rng.random() < 0.5 else (0.85, 0.12, 0.12)
                    self._add(label, _oval(x, top + 0.04, 0.026, 0.052), tint)
                    self._add(label, _oval(x, top + 0.04, 0.017, 0.034), (0.95, 0.95, 0.95))

    def _traffic(self, label: str) -> None:
        rng = self.rng
        several = int(rng.integers(1, 5)) if label in ("car", "person") else 1
        for _ in range(several):
            near = float(rng.uniform(0.1, 0.75))
            foot = self.horizon + (0.96 - self.horizon) * near
            s = 0.06 + 0.2 * near
            on_road = label not in ("person", "bicycle")
            x = float(rng.uniform(0.2, 0.8))
            if not on_road:
                x = 0.04 + 0.4 * (x - 0.2) if x < 0.5 else 0.7 + 0.8 * (x - 0.5)
            draw: Callable[[float, float, float, Colour], None] = getattr(self, f"_{label}")
            draw(x, foot, s, draw_colour(rng, saturation=(0.25, 0.7)))

    def _wheels(self, label: str, x: float, y: float, places: tuple[float, ...], r: float) -> None:
        for place in places:
            self._add(label, _oval(x + place, y, r, 2 * r), (0.08, 0.08, 0.09))
            self._add(label, _oval(x + place, y, 0.45 * r, 0.9 * r), (0.6, 0.6, 0.62))

    def _car(self, x: float, y: float, s: float, colour: Colour) -> None:
        self._add("car", [(x - 0.3 * s, y - 0.55 * s), (x - 0.2 * s, y - s), (x + 0.22 * s, y - s),
                          (x + 0.36 * s, y - 0.55 * s)], (0.35, 0.45, 0.52))  # fmt: skip
        self._add("car", _box(x - 0.5 * s, y - 0.6 * s, x + 0.5 * s, y - 0.12 * s), colour)
        self._wheels("car", x, y - 0.14 * s, (-0.28 * s, 0.28 * s), 0.09 * s)

    def _truck(self, x: float, y: float, s: float, colour: Colour) -> None:
        s *= 1.25
        self._add("truck", _box(x - 0.6 * s, y - 1.5 * s, x + 0.3 * s, y - 0.2 * s), colour, "stripes", 0.9, 0.08)
        self._add("truck", _box(x + 0.32 * s, y - 1.05 * s, x + 0.62 * s, y - 0.2 * s), (0.75, 0.2, 0.15))
        self._add("truck", _box(x + 0.42 * s, y - 0.95 * s, x + 0.6 * s, y - 0.6 * s), (0.4, 0.5, 0.58))
        self._wheels("truck", x, y - 0.18 * s, (-0.4 * s, -0.15 * s, 0.45 * s), 0.1 * s)

    def _bus(self, x: float, y: float, s: float, colour: Colour) -> None:
        s *= 1.3
        self._add("bus", _box(x - 0.75 * s, y - 1.25 * s, x + 0.75 * s, y - 0.15 * s), colour)
        for place in np.arange(-0.65, 0.6, 0.28):
            self._add("bus", _box(x + place * s, y - 1.1 * s, x + (place + 0.2) * s, y - 0.65 * s), (0.25, 0.32, 0.4))
        self._wheels("bus", x, y - 0.14 * s, (-0.48 * s, 0.48 * s), 0.1 * s)

    def _train(self, x: float, y: float, s: float, colour: Colour) -> None:
        h, s = min(self.horizon, y), max(s, 0.28)
        left = -0.05 if x < 0.5 else 0.55
        self._add("train", _box(left, h - 0.6 * s, left + 0.5, h + 0.12 * s), (0.8, 0.82, 0.85))
        self._add("train", _box(left, h - 0.1 * s, left + 0.5, h + 0.02 * s), colour)
        for place in np.arange(0.02, 0.45, 0.07):
            self._add("train", _box(left + place, h - 0.48 * s, left + place + 0.05, h - 0.2 * s), (0.15, 0.2, 0.28))

    def _person(self, x: float, y: float, s: float, colour: Colour) -> None:
        self._figure("person", x, y, 0.9 * s, colour)

    def _figure(self, label: str, x: float, y: float, s: float, colour: Colour) -> None:
        self._add(label, _box(x - 0.1 * s, y - 0.8 * s, x - 0.01 * s, y), (0.16, 0.18, 0.28))
        self._add(label, _box(x + 0.01 * s, y - 0.8 * s, x + 0.1 * s, y), (0.16, 0.18, 0.28))
        self._add(label, _box(x - 0.13 * s, y - 1.5 * s, x + 0.13 * s, y - 0.7 * s), colour, "bands", 0.8, 0.2)
        self._add(label, _oval(x, y - 1.65 * s, 0.075 * s, 0.17 * s), (0.85, 0.66, 0.54))

    def _bicycle(self, x: float, y: float, s: float, colour: Colour) -> None:
        s *= 0.9
        for place in (-0.26, 0.26):
            self._add("bicycle", _oval(x + place * s, y - 0.3 * s, 0.18 * s, 0.34 * s), (0.1, 0.1, 0.12))
            self._add("bicycle", _oval(x + place * s, y - 0.3 * s, 0.13 * s, 0.25 * s), (0.6, 0.62, 0.62))
        self._add("bicycle", [(x - 0.26 * s, y - 0.3 * s), (x - 0.08 * s, y - 0.85 * s), (x + 0.2 * s, y - 0.85 * s),
                              (x + 0.26 * s, y - 0.3 * s), (x + 0.16 * s, y - 0.72 * s), (x, y - 0.3 * s)],
                  colour)  # fmt: skip

    def _motorcycle(self, x: float, y: float, s: float, colour: Colour) -> None:
        self._wheels("motorcycle", x, y - 0.25 * s, (-0.3 * s, 0.3 * s), 0.14 * s)
        self._add("motorcycle", [(x - 0.3 * s, y - 0.65 * s), (x + 0.12 * s, y - 0.6 * s), (x + 0.3 * s, y - 0.8 * s),
                                 (x + 0.3 * s, y - 0.4 * s), (x - 0.15 * s, y - 0.3 * s)], colour)  # fmt: skip

    def _rider(self, x: float, y: float, s: float, colour: Colour) -> None:
        # On the machine that was drawn just before, if there is one.
        for region in reversed(self.regions):
            if region.label in ("bicycle", "motorcycle"):
                xs, ys = zip(*region.polygon, strict=True)
                x, y = (min(xs) + max(xs)) / 2 / self.width, max(ys) / self.height + 0.02
                s = max((max(xs) - min(xs)) / self.width / 0.6, 0.08)
                break
        self._add("rider", _box(x - 0.06 * s, y - 0.7 * s, x + 0.04 * s, y - 0.05 * s), (0.16, 0.18, 0.28))
        self._add("rider", [(x - 0.12 * s, y - 0.6 * s), (x - 0.2 * s, y - 1.1 * s), (x + 0.05 * s, y - 1.6 * s),
                            (x + 0.2 * s, y - 1.5 * s), (x + 0.14 * s, y - 0.6 * s)], colour)  # fmt: skip
        self._add("rider", _oval(x + 0.14 * s, y - 1.72 * s, 0.09 * s, 0.18 * s), (0.9, 0.3, 0.1))


def _box(x0: float, y0: float, x1: float, y1: float) -> list[Point]:
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def _oval(x: float, y: float, rx: float, ry: float) -> list[Point]:
    angles = np.linspace(0, 2 * np.pi, 17)[:-1]
    return [(x + rx * float(np.cos(a)), y + ry * float(np.sin(a))) for a in angles]


def _blob(rng: np.random.Generator, x: float, y: float, rx: float, ry: float) -> list[Point]:
    radii = rng.uniform(0.8, 1.15, 16)
    return [(x + (px - x) * r, y + (py - y) * r) for (px, py), r in zip(_oval(x, y, rx, ry), radii, strict=True)]
