"""Colours and textures: what rendered things and places are made of."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float32Array, FloatArray

Colour = tuple[float, float, float]
"""Red, green, blue in 0..1."""

Pattern = Literal["plain", "stripes", "bands", "dots", "checks", "zigzag", "speckle", "grain"]
PATTERNS: tuple[Pattern, ...] = get_args(Pattern)


@dataclass(frozen=True, kw_only=True)
class Material:
    """A surface: two colours, a pattern of them, and its period as a share of the canvas."""

    base: Colour
    accent: Colour
    pattern: Pattern
    period: float
    seed: int


def draw_colour(
    rng: np.random.Generator,
    *,
    hue: tuple[float, float] = (0.0, 1.0),
    saturation: tuple[float, float] = (0.35, 0.8),
    value: tuple[float, float] = (0.45, 0.95),
) -> Colour:
    """Draw a colour from ranges of hue, saturation and value.

    Parameters
    ----------
    rng : numpy.random.Generator
    hue, saturation, value : (float, float)
        Ranges in 0..1; the hue's may pass 1.

    Returns
    -------
    Colour
    """
    return colorsys.hsv_to_rgb(rng.uniform(*hue) % 1.0, rng.uniform(*saturation), rng.uniform(*value))


def draw_material(rng: np.random.Generator) -> Material:
    """Draw the material of one instance: two contrasting colours and a pattern.

    Parameters
    ----------
    rng : numpy.random.Generator

    Returns
    -------
    Material
    """
    hue = float(rng.uniform())
    base = draw_colour(rng, hue=(hue, hue + 0.02), saturation=(0.25, 0.7))
    shift = hue + rng.choice([0.0, 0.08, 0.33, 0.5, 0.67])
    dark = max(base) > 0.7
    accent = draw_colour(rng, hue=(shift, shift + 0.02), value=(0.25, 0.55) if dark else (0.75, 1.0))
    return Material(
        base=base,
        accent=accent,
        pattern=PATTERNS[int(rng.integers(len(PATTERNS)))],
        period=float(rng.uniform(0.07, 0.16)),
        seed=int(rng.integers(2**31)),
    )


def plain(colour: Colour) -> Material:
    """Return the material of one even colour.

    Parameters
    ----------
    colour : Colour

    Returns
    -------
    Material
    """
    return Material(base=colour, accent=colour, pattern="plain", period=0.1, seed=0)


def paint(material: Material, size: tuple[int, int]) -> Float32Array:
    """Render a material.

    Parameters
    ----------
    material : Material
    size : (int, int)
        Height and width in pixels.

    Returns
    -------
    ndarray of shape (height, width, 3), float32
        Values in 0..1.
    """
    height, width = size
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    weight = _weight(material, x, y, max(height, width) * material.period)[..., None]
    base, accent = np.asarray(material.base, dtype=np.float32), np.asarray(material.accent, dtype=np.float32)
    return np.asarray(base * (1 - weight) + accent * weight, dtype=np.float32)


def _weight(material: Material, x: Float32Array, y: Float32Array, period: float) -> Float32Array:
    """Return how much of the accent shows at each pixel, in 0..1."""
    if material.pattern == "stripes":
        return _square_wave(x + 0.15 * y, period)
    if material.pattern == "bands":
        return _square_wave(y, period)
    if material.pattern == "checks":
        return np.asarray(np.abs(_square_wave(x, 2 * period) - _square_wave(y, 2 * period)))
    if material.pattern == "zigzag":
        return _square_wave(y + np.abs((x % (2 * period)) - period), period)
    if material.pattern == "dots":
        row = np.floor(y / period)
        u, v = (x / period + 0.5 * (row % 2)) % 1 - 0.5, (y / period) % 1 - 0.5
        return np.asarray(np.clip((0.3 - np.hypot(u, v)) * period + 0.5, 0, 1), dtype=np.float32)
    if material.pattern == "speckle":
        return np.float32(0.9) * (smooth_noise(x.shape, material.seed, max(2, int(period / 3))) > 0.62)
    if material.pattern == "grain":
        rings = smooth_noise(x.shape, material.seed, max(4, int(3 * period)))
        return np.asarray(0.5 + 0.5 * np.sin(8 * rings + 2 * np.pi * y / period), dtype=np.float32)
    return np.zeros_like(x)


def _square_wave(phase: Float32Array, period: float) -> Float32Array:
    """Return 1 in the first half of each period, 0 in the second, with edges a pixel wide."""
    distance = np.abs((phase % period) - period / 2) - period / 4
    return np.asarray(np.clip(distance + 0.5, 0, 1), dtype=np.float32)


def smooth_noise(shape: tuple[int, ...], seed: int, cell: int) -> Float32Array:
    """Make noise that varies smoothly from pixel to pixel.

    Parameters
    ----------
    shape : (int, int)
        Height and width, in pixels.
    seed : int
    cell : int
        Pixels between the random values, which are joined bilinearly.

    Returns
    -------
    ndarray of shape (height, width), float32
        In 0..1.
    """
    height, width = shape
    rng = np.random.default_rng(seed)
    coarse = rng.random((height // cell + 2, width // cell + 2), dtype=np.float32)
    rows, columns = np.arange(height) / cell, np.arange(width) / cell
    top, left = rows.astype(int), columns.astype(int)
    v, u = (rows - top).astype(np.float32)[:, None], (columns - left).astype(np.float32)[None]
    upper = coarse[top][:, left] * (1 - u) + coarse[top][:, left + 1] * u
    lower = coarse[top + 1][:, left] * (1 - u) + coarse[top + 1][:, left + 1] * u
    return np.asarray(upper * (1 - v) + lower * v, dtype=np.float32)


def to_bytes(image: FloatArray) -> NDArray[np.uint8]:
    """Round values in 0..1 to bytes, clipping what lies outside.

    Parameters
    ----------
    image : ndarray of floats

    Returns
    -------
    ndarray of the same shape, uint8
    """
    return np.asarray(np.clip(image * 255 + 0.5, 0, 255), dtype=np.uint8)
