"""How many pictures a second a backbone embeds on this machine, measured when asked for."""

from __future__ import annotations

import datetime
import math
import os
import platform
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import numpy as np

from semret.errors import BackboneError
from semret.index.backbones.facts import FACTS
from semret.index.backbones.hub import find_weights
from semret.index.backbones.libraries import load_adapter
from semret.index.backbones.memory import is_out_of_memory
from semret.index.backbones.registry import create_backbone, spec_of
from semret.index.backbones.spec import Backbone, BackboneSpec
from semret.index.backbones.speeds import Speed

SECONDS = 2.0
"""How long is measured, at least; a pass that takes longer is measured once."""

_BATCH = 8


def names_here(names: Iterable[str]) -> list[str]:
    """Keep the backbones whose weights are on this machine.

    Parameters
    ----------
    names : iterable of str

    Returns
    -------
    list of str
    """
    return [name for name in names if find_weights(spec_of(name)) is not None]


def measure(name: str, *, device: str | None = None, seconds: float = SECONDS) -> Speed:
    """Measure how many pictures a second a backbone embeds here.

    Where the weights are not on this machine, the same network is filled with random numbers: that takes as long.

    Parameters
    ----------
    name : str
    device : str or None
        None takes the best there is.
    seconds : float
        How long is measured, at least.

    Returns
    -------
    Speed

    Raises
    ------
    UnknownNameError
        If there is no such backbone.
    BackboneError
        If it cannot be built without its weights, or does not fit into memory.
    """
    spec = spec_of(name)
    trained = spec.family == "onnx" or find_weights(spec) is not None
    backbone = create_backbone(name, device=device) if trained else _untrained(spec, device)
    rate, threads = _run(backbone, seconds)
    return Speed(
        pictures_per_second=rate,
        threads=threads,
        device=str(getattr(backbone, "device", "cpu")),
        measured=datetime.datetime.now(datetime.UTC).date().isoformat(),
        trained=trained,
        machine=platform.node(),
    )


def _untrained(spec: BackboneSpec, device: str | None) -> Backbone:
    if spec.name not in FACTS:
        raise BackboneError(
            f"the weights of {spec.name} are not on this machine, and only they tell what network it is"
        )
    needed, there = FACTS[spec.name].weight_bytes, _memory()
    if needed > 0.6 * there:
        raise BackboneError(
            f"{spec.name} takes {needed / 1e9:.1f} GB, and this machine has {there / 1e9:.1f} GB of memory"
        )
    module = cast("Any", load_adapter("semret.index.backbones.untrained"))
    try:
        return cast("Backbone", module.build_untrained(spec, device))
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise BackboneError(f"{spec.name} does not fit into memory") from error


def _memory() -> float:
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (ValueError, OSError, AttributeError):
        return math.inf


def _run(backbone: Backbone, seconds: float) -> tuple[float, int]:
    """Return pictures a second, and the number of threads."""
    height, width = backbone.identity.preprocessing.size
    picture = np.random.default_rng(0).standard_normal((1, 3, height, width)).astype(np.float32)
    with backbone.streams(1 << 20) as most:
        threads = most.count
    with backbone.streams(max(_BATCH, threads)) as streams, ThreadPoolExecutor(streams.count) as pool:
        batches = [np.repeat(picture, streams.pictures, axis=0)] * streams.count
        # The first pass of each thread gets everything ready.
        list(pool.map(backbone.embed, batches))
        done, start = 0, time.perf_counter()
        while not done or time.perf_counter() - start < seconds:
            list(pool.map(backbone.embed, batches))
            done += streams.count * streams.pictures
        return done / (time.perf_counter() - start), threads
