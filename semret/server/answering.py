"""Answers to questions, as plain values; every function here runs in a thread."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from semret.index.model_choice import may_have_text
from semret.names import escaped
from semret.progress import Progress
from semret.retrieval.search.query_pictures import EncodedImage, Seen
from semret.retrieval.search.results import SearchResult
from semret.server.asks import Ask, Matching, Picture, picture_of
from semret.server.recent import Recent
from semret.server.served import Served, View

_MOST_FOLDERS = 2000


def search(view: View, ask: Ask, recent: Recent, progress: Progress) -> SearchResult:
    """Answer a question.

    Parameters
    ----------
    view : View
    ask : Ask
    recent : Recent
        Has, or makes, the features of an upload.
    progress : callable
        Called with the number of candidates compared and their total; may raise, to end the search.

    Returns
    -------
    SearchResult

    Raises
    ------
    SemretError
        See `SearchEngine.query`, `SearchEngine.query_all` and `picture_of`.
    """
    among = view.within(ask.options.folder)
    if ask.sentence is not None:
        return view.engine.query_text(ask.sentence, k=ask.options.k, among=among, **ask.options.filters())
    options = ask.options.as_search()
    # Before a picture is decoded, as the engine does it.
    options.check(max(len(view.engine), 1))
    start = time.perf_counter()
    wanted, avoided = ([_seen(view, each, recent) for each in given] for given in (ask.wanted, ask.avoided))
    embed = time.perf_counter() - start
    if ask.composed:
        result = view.engine.search_all(
            wanted, options, avoid=avoided, among=among, progress=progress, **ask.options.combining()
        )
    else:
        result = view.engine.search(wanted[0], options, among=among, progress=progress)
    seconds = {**result.stats.seconds, "embed": result.stats.seconds["embed"] + embed}
    return replace(result, stats=replace(result.stats, seconds=seconds))


def _seen(view: View, picture: Picture, recent: Recent) -> Seen | int:
    found = picture_of(picture, view)
    return found if isinstance(found, int) else recent.represent(view, found)


def as_json(result: SearchResult) -> dict[str, Any]:
    """Return an answer for a JSON document.

    Parameters
    ----------
    result : SearchResult

    Returns
    -------
    dict
        What ``semret query --format json`` prints, ``notes``, and for each hit ``shown`` and ``shown_copies``: its
        paths with what is invisible or no text written out.
    """
    found = {**result.as_json(), "notes": result.notes}
    for hit in found["hits"]:
        hit["shown"], *hit["shown_copies"] = map(escaped, hit["paths"])
    return found


def explain(view: View, picture: int | EncodedImage, id_: int, matching: Matching, recent: Recent) -> dict[str, Any]:
    """Tell why an image is like a picture.

    Parameters
    ----------
    view : View
    picture : EncodedImage or int
    id_ : int
        Of the image.
    matching : Matching
    recent : Recent
        Has, or makes, the features of an upload.

    Returns
    -------
    dict
        See `semret.retrieval.search.explain.Explanation.as_json`.

    Raises
    ------
    SemretError
        See `SearchEngine.explain`.
    """
    query = picture if isinstance(picture, int) else recent.represent(view, picture)
    found = view.engine.explain(query, id_, **matching.names()).as_json()
    for side in ("query", "image"):
        found[side]["shown"] = escaped(found[side].get("path", found[side].get("name", "")))
    return {"generation": view.generation, **found}


def info(served: Served) -> dict[str, Any]:
    """Tell what is served.

    Parameters
    ----------
    served : Served

    Returns
    -------
    dict
    """
    view = served.view
    manifest = view.collection.manifest
    folders = view.folders
    return {
        "images": len(view.collection),
        "generation": view.generation,
        "model": manifest.identity.backbone,
        "codec": manifest.codec,
        "device_maps": view.engine.device_maps,
        "grid": list(manifest.identity.grid),
        "text": may_have_text(manifest.identity.backbone),
        "root": escaped(str(view.collection.root.folder)),
        "folders": folders[:_MOST_FOLDERS],
        "shown_folders": [escaped(folder) for folder in folders[:_MOST_FOLDERS]],
        "folders_left_out": max(0, len(folders) - _MOST_FOLDERS),
        "trouble": served.trouble,
    }
