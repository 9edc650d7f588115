"""Things to put into rooms: one small drawing per category, each instance in its own material."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

from semret.eval.scenes.canvas import Canvas, arc, darker
from semret.eval.scenes.materials import Colour, Material, draw_colour, draw_material, plain

Draw = Callable[[Canvas, Material], None]

WOOD: Colour = (0.55, 0.36, 0.2)
METAL: Colour = (0.72, 0.74, 0.77)
DARK: Colour = (0.15, 0.15, 0.18)
PAPER: Colour = (0.95, 0.93, 0.88)
LEAF: Colour = (0.25, 0.5, 0.2)


def _mug(c: Canvas, m: Material) -> None:
    c.ring(0.74, 0.55, 0.16, 0.2, 0.05, plain(m.base))
    c.polygon([(0.22, 0.25), (0.72, 0.25), (0.7, 0.86), *arc(0.47, 0.86, 0.23, 0.06, 0, 180), (0.24, 0.86)], m)
    c.disc(0.47, 0.25, 0.25, 0.06, darker(m.base, 0.45))


def _bottle(c: Canvas, m: Material) -> None:
    c.polygon([(0.43, 0.12), (0.57, 0.12), (0.58, 0.32), (0.68, 0.45), (0.68, 0.95), (0.32, 0.95), (0.32, 0.45),
               (0.42, 0.32)], plain(m.base), round_=0.9)  # fmt: skip
    c.box(0.42, 0.04, 0.58, 0.13, plain(m.accent), corner=0.02)
    c.box(0.32, 0.52, 0.68, 0.8, m)


def _bowl(c: Canvas, m: Material) -> None:
    c.polygon(arc(0.5, 0.45, 0.44, 0.42, 0, 180), m, round_=0.8)
    c.disc(0.5, 0.45, 0.44, 0.1, darker(m.base, 0.5))
    c.box(0.36, 0.84, 0.64, 0.9, plain(m.base))


def _book(c: Canvas, m: Material) -> None:
    c.polygon([(0.14, 0.2), (0.22, 0.12), (0.92, 0.12), (0.86, 0.2)], plain(PAPER), round_=0.1)
    c.box(0.12, 0.2, 0.86, 0.92, m, corner=0.02)
    c.box(0.12, 0.2, 0.22, 0.92, darker(m.base))
    c.box(0.34, 0.32, 0.74, 0.46, plain(PAPER), corner=0.02)


def _plant(c: Canvas, m: Material) -> None:
    for angle in np.linspace(-65, 65, 7) + c.rng.uniform(-6, 6, 7):
        dx, dy = math.sin(math.radians(angle)), math.cos(math.radians(angle))
        tip = (0.5 + 0.42 * dx, 0.6 - 0.52 * dy)
        green = draw_colour(c.rng, hue=(0.24, 0.38), saturation=(0.5, 0.8), value=(0.35, 0.65))
        side = 0.07
        c.polygon([(0.5, 0.62), (0.5 + 0.25 * dx - side * dy, 0.6 - 0.3 * dy - side * dx), tip,
                   (0.5 + 0.25 * dx + side * dy, 0.6 - 0.3 * dy + side * dx)], plain(green))  # fmt: skip
    c.polygon([(0.28, 0.6), (0.72, 0.6), (0.65, 0.95), (0.35, 0.95)], m, round_=0.8)
    c.box(0.26, 0.57, 0.74, 0.64, plain(m.base), corner=0.02)


def _lamp(c: Canvas, m: Material) -> None:
    c.box(0.475, 0.4, 0.525, 0.9, plain(METAL))
    c.disc(0.5, 0.91, 0.2, 0.05, plain(METAL))
    c.polygon([(0.34, 0.06), (0.66, 0.06), (0.82, 0.46), (0.18, 0.46)], m, round_=0.6)


def _clock(c: Canvas, m: Material) -> None:
    c.disc(0.5, 0.5, 0.42, 0.42, m, round_=0.5)
    c.disc(0.5, 0.5, 0.33, 0.33, plain(PAPER), round_=0.1)
    for hour in range(12):
        angle = math.radians(30 * hour)
        c.disc(0.5 + 0.28 * math.cos(angle), 0.5 + 0.28 * math.sin(angle), 0.018, 0.018, plain(DARK))
    for length, width, angle in ((0.17, 0.03, c.rng.uniform(0, 6.28)), (0.25, 0.02, c.rng.uniform(0, 6.28))):
        c.line([(0.5, 0.5), (0.5 + length * math.cos(angle), 0.5 + length * math.sin(angle))], width, plain(DARK))


def _ball(c: Canvas, m: Material) -> None:
    c.disc(0.5, 0.55, 0.4, 0.4, m, round_=1.0)
    c.ring(0.5, 0.55, 0.4, 0.14, 0.03, plain(m.accent))
    c.disc(0.38, 0.38, 0.07, 0.05, plain((1.0, 1.0, 1.0)))


def _box(c: Canvas, m: Material) -> None:
    c.polygon([(0.08, 0.34), (0.3, 0.16), (0.94, 0.16), (0.74, 0.34)], darker(m.base, 1.15), round_=0.1)
    c.polygon([(0.74, 0.34), (0.94, 0.16), (0.94, 0.74), (0.74, 0.94)], darker(m.base, 0.55), round_=0.1)
    c.box(0.08, 0.34, 0.74, 0.94, m)
    c.box(0.36, 0.34, 0.46, 0.94, plain((0.85, 0.75, 0.55)))


def _vase(c: Canvas, m: Material) -> None:
    for x in (0.36, 0.5, 0.64):
        c.line([(0.5, 0.5), (x, 0.2)], 0.02, plain(LEAF))
        c.disc(x, 0.15 + c.rng.uniform(-0.04, 0.04), 0.08, 0.08, plain(m.accent))
    c.polygon([(0.42, 0.36), (0.58, 0.36), (0.6, 0.46), *arc(0.5, 0.7, 0.26, 0.25, -60, 240), (0.4, 0.46)], m,
              round_=0.9)  # fmt: skip


def _candle(c: Canvas, m: Material) -> None:
    c.disc(0.5, 0.9, 0.3, 0.07, plain(METAL))
    c.box(0.38, 0.34, 0.62, 0.9, m, corner=0.02)
    c.line([(0.5, 0.34), (0.5, 0.27)], 0.02, plain(DARK))
    c.polygon([(0.5, 0.06), (0.56, 0.2), *arc(0.5, 0.22, 0.06, 0.06, 0, 180), (0.44, 0.2)], plain((1.0, 0.75, 0.2)))


def _apple(c: Canvas, m: Material) -> None:
    skin = plain(draw_colour(c.rng, hue=(0.95, 1.3), saturation=(0.7, 0.9), value=(0.6, 0.9)))
    c.disc(0.38, 0.58, 0.26, 0.32, skin, round_=0.7)
    c.disc(0.62, 0.58, 0.26, 0.32, skin, round_=0.7)
    c.line([(0.5, 0.32), (0.54, 0.12)], 0.035, plain(WOOD))
    c.polygon([(0.54, 0.2), (0.66, 0.08), (0.78, 0.14), (0.66, 0.22)], plain(LEAF))
    c.disc(0.66, 0.56, 0.06, 0.05, plain(m.accent))


def _teapot(c: Canvas, m: Material) -> None:
    c.ring(0.22, 0.58, 0.16, 0.18, 0.045, plain(m.base))
    c.polygon([(0.68, 0.62), (0.94, 0.34), (0.98, 0.38), (0.78, 0.78)], plain(m.base))
    c.disc(0.5, 0.62, 0.3, 0.28, m)
    c.polygon(arc(0.5, 0.4, 0.18, 0.12, 180, 360), plain(m.accent))
    c.disc(0.5, 0.26, 0.04, 0.04, plain(m.base))


def _frame(c: Canvas, m: Material) -> None:
    c.box(0.1, 0.08, 0.9, 0.94, plain(draw_colour(c.rng, saturation=(0.2, 0.6), value=(0.2, 0.6))), corner=0.02)
    c.box(0.2, 0.18, 0.8, 0.84, m)
    c.disc(0.5, 0.45, 0.12, 0.15, plain((0.9, 0.75, 0.62)))
    c.polygon([(0.3, 0.84), (0.36, 0.64), (0.64, 0.64), (0.7, 0.84)], plain(m.accent))


def _phone(c: Canvas, m: Material) -> None:
    c.box(0.28, 0.06, 0.72, 0.96, plain(DARK), corner=0.05)
    c.box(0.31, 0.13, 0.69, 0.88, m, corner=0.01)
    for row in range(3):
        for column in range(3):
            tint = plain(draw_colour(c.rng))
            c.box(0.36 + 0.11 * column, 0.2 + 0.12 * row, 0.43 + 0.11 * column, 0.27 + 0.12 * row, tint, corner=0.01)


def _laptop(c: Canvas, m: Material) -> None:
    c.box(0.14, 0.14, 0.86, 0.66, plain(DARK), corner=0.03)
    c.box(0.18, 0.18, 0.82, 0.61, m)
    c.polygon([(0.14, 0.67), (0.86, 0.67), (0.98, 0.88), (0.02, 0.88)], plain(METAL), round_=0.3)
    c.polygon([(0.2, 0.7), (0.8, 0.7), (0.86, 0.79), (0.14, 0.79)], plain(DARK), round_=0.1)


def _camera(c: Canvas, m: Material) -> None:
    c.box(0.34, 0.18, 0.66, 0.34, plain(DARK), corner=0.03)
    c.box(0.06, 0.3, 0.94, 0.84, plain(DARK), corner=0.05)
    c.box(0.06, 0.42, 0.94, 0.7, m)
    c.disc(0.5, 0.57, 0.23, 0.23, plain(METAL))
    c.disc(0.5, 0.57, 0.17, 0.17, plain((0.12, 0.14, 0.25)))
    c.disc(0.45, 0.51, 0.04, 0.04, plain((0.8, 0.85, 0.95)))


def _hat(c: Canvas, m: Material) -> None:
    c.disc(0.5, 0.74, 0.48, 0.12, plain(m.base))
    c.polygon([(0.26, 0.72), (0.3, 0.34), *arc(0.5, 0.34, 0.2, 0.12, 180, 360), (0.74, 0.72)], m, round_=0.7)
    c.box(0.265, 0.6, 0.735, 0.71, plain(m.accent))


def _bear(c: Canvas, m: Material) -> None:
    fur = draw_colour(c.rng, hue=(0.04, 0.12), saturation=(0.3, 0.7), value=(0.4, 0.85))
    for x in (0.3, 0.7):
        c.disc(x, 0.16, 0.09, 0.09, plain(fur))
        c.disc(x + (x - 0.5) * 0.35, 0.88, 0.13, 0.1, plain(fur))
        c.disc(x + (x - 0.5) * 0.5, 0.6, 0.08, 0.15, plain(fur))
    c.disc(0.5, 0.68, 0.25, 0.26, m)
    c.disc(0.5, 0.32, 0.25, 0.23, plain(fur))
    c.disc(0.5, 0.39, 0.1, 0.08, plain(PAPER))
    for x, y in ((0.41, 0.27), (0.59, 0.27), (0.5, 0.36)):
        c.disc(x, y, 0.026, 0.026, plain(DARK))


def _car(c: Canvas, m: Material) -> None:
    c.polygon([(0.24, 0.5), (0.34, 0.28), (0.66, 0.28), (0.8, 0.5)], plain((0.6, 0.75, 0.85)), round_=0.4)
    c.polygon([(0.22, 0.5), (0.33, 0.26), (0.67, 0.26), (0.68, 0.3), (0.36, 0.3), (0.3, 0.5)], plain(m.base))
    c.box(0.04, 0.48, 0.96, 0.72, m, corner=0.06)
    for x in (0.25, 0.75):
        c.disc(x, 0.73, 0.12, 0.12, plain(DARK))
        c.disc(x, 0.73, 0.05, 0.05, plain(METAL))


def _glass(c: Canvas, m: Material) -> None:
    clear = plain((0.78, 0.86, 0.9))
    c.disc(0.5, 0.92, 0.2, 0.045, clear)
    c.box(0.48, 0.55, 0.52, 0.92, clear)
    c.polygon([(0.26, 0.08), (0.74, 0.08), (0.7, 0.4), *arc(0.5, 0.42, 0.2, 0.18, 0, 180), (0.3, 0.4)], clear)
    c.polygon([(0.28, 0.28), (0.72, 0.28), (0.69, 0.42), *arc(0.5, 0.42, 0.18, 0.16, 0, 180), (0.31, 0.42)], m)


def _shoe(c: Canvas, m: Material) -> None:
    c.polygon([(0.08, 0.3), (0.36, 0.26), (0.52, 0.5), (0.86, 0.6), (0.96, 0.8), (0.06, 0.8)], m)
    c.box(0.05, 0.78, 0.97, 0.87, plain(PAPER), corner=0.04)
    for step in range(4):
        x, y = 0.38 + 0.07 * step, 0.36 + 0.055 * step
        c.line([(x, y), (x + 0.1, y - 0.05)], 0.022, plain(PAPER))


def _cushion(c: Canvas, m: Material) -> None:
    c.polygon([(0.04, 0.12), (0.5, 0.2), (0.96, 0.12), (0.88, 0.5), (0.96, 0.9), (0.5, 0.82), (0.04, 0.9),
               (0.12, 0.5)], m, round_=0.9)  # fmt: skip
    c.disc(0.5, 0.51, 0.035, 0.035, plain(m.accent))


def _umbrella(c: Canvas, m: Material) -> None:
    c.line([(0.5, 0.1), (0.5, 0.86), *arc(0.57, 0.86, 0.07, 0.08, 180, 0)], 0.035, plain(WOOD))
    c.polygon(arc(0.5, 0.52, 0.46, 0.42, 180, 360), m, round_=0.7)
    for x in (0.2, 0.5, 0.8):
        c.disc(x, 0.53, 0.15, 0.035, plain(m.accent))


THINGS: dict[str, tuple[Draw, float]] = {
    "apple": (_apple, 0.5), "ball": (_ball, 0.75), "bear": (_bear, 1.1), "book": (_book, 0.95),
    "bottle": (_bottle, 1.2), "bowl": (_bowl, 0.8), "box": (_box, 1.05), "camera": (_camera, 0.75),
    "candle": (_candle, 0.8), "car": (_car, 0.9), "clock": (_clock, 0.85), "cushion": (_cushion, 1.0),
    "frame": (_frame, 1.1), "glass": (_glass, 0.9), "hat": (_hat, 0.95), "lamp": (_lamp, 1.4),
    "laptop": (_laptop, 1.25), "mug": (_mug, 0.7), "phone": (_phone, 0.75), "plant": (_plant, 1.3),
    "shoe": (_shoe, 0.8), "teapot": (_teapot, 0.9), "umbrella": (_umbrella, 1.3), "vase": (_vase, 1.05),
}  # fmt: skip
"""Categories: how to draw one, and its size relative to the others."""

CATEGORIES: tuple[str, ...] = tuple(THINGS)


def draw_thing(category: str, seed: int) -> Image.Image:
    """Draw one instance of a category.

    Parameters
    ----------
    category : str
        A key of `THINGS`.
    seed : int
        Decides colours, pattern and details; the same seed gives the same pixels.

    Returns
    -------
    PIL.Image.Image
        RGBA, cut to what is opaque.
    """
    rng = np.random.default_rng([seed, CATEGORIES.index(category)])
    canvas = Canvas(rng)
    THINGS[category][0](canvas, draw_material(rng))
    image = canvas.image
    image.putalpha(image.getchannel("A").filter(ImageFilter.GaussianBlur(0.5)))
    bounds = image.getbbox()
    return image.crop(bounds) if bounds else image
