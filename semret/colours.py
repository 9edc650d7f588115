"""Colours that colour-blind readers can tell apart, for everything that is drawn."""

from __future__ import annotations

BLUE, ORANGE, GREEN, PINK, RED, SKY, YELLOW, BLACK = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442", "#000000",
)  # fmt: skip
"""The palette of Okabe and Ito."""

CIVIDIS = (
    (0, 34, 78), (26, 56, 111), (67, 78, 108), (97, 101, 111), (125, 124, 120),
    (155, 148, 118), (188, 174, 108), (222, 201, 88), (254, 232, 56),
)  # fmt: skip
"""A scale from little to much as red, green and blue at equal steps: dark blue to yellow, brighter all the way.

Nunez, Anderton and Renslow, "Optimizing colormaps with consideration for color vision deficiency to enable accurate
interpretation of scientific data", PLoS ONE 2018.
"""
