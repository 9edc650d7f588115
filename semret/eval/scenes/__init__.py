"""Rendered scenes: pictures whose content is known, for tests, demonstrations and examples."""

from __future__ import annotations

from semret.eval.scenes.layouts import make_cityscapes, make_egoobjects, render_collection
from semret.eval.scenes.rooms import draw_condition, draw_things, render_room
from semret.eval.scenes.streets import draw_content, draw_look, render_street

__all__ = [
    "draw_condition",
    "draw_content",
    "draw_look",
    "draw_things",
    "make_cityscapes",
    "make_egoobjects",
    "render_collection",
    "render_room",
    "render_street",
]
