"""A page of example queries: what each invariance retrieved, and how well it agrees."""

from __future__ import annotations

import base64
import html
from pathlib import Path

import numpy as np

from semret.arrays import IndexVector
from semret.errors import ImageDecodeError, StorageError
from semret.eval.data.dataset import Dataset
from semret.eval.experiments.retrieval_report import NAMES, Run
from semret.index.pictures.decode import thumbnail

STYLE = """body{font:15px/1.4 system-ui,sans-serif;margin:1rem auto;padding:0 1rem;max-width:80rem;color:#222;
background:#fff}h1{font-size:1.3rem;overflow-wrap:anywhere}section{display:grid;gap:.8rem;padding:.8rem 0;
grid-template-columns:repeat(auto-fill,minmax(min(100%,9.5rem),1fr));border-bottom:1px solid #ddd}
figure{margin:0;min-width:0}figcaption{overflow-wrap:anywhere}img{display:block;width:100%;max-width:220px;height:auto}
.query{border-left:4px solid #0072b2;padding-left:.5rem}.best{font-weight:700}small{color:#555}"""
"""Rows become columns as the window narrows: nothing runs off a phone."""


def write_examples(dataset: Dataset, run: Run, path: Path, *, kernel: str, count: int = 24, seed: int = 0) -> None:
    """Write a self-contained HTML page with thumbnails.

    Half of the queries are those where permutation invariance differs most from the same positions, for better or
    worse, so that both are seen; the rest are drawn at random.

    Parameters
    ----------
    dataset : Dataset
    run : Run
    path : Path
        File to write.
    kernel : str
        One of the run's kernels.
    count, seed : int

    Raises
    ------
    StorageError
        If the file cannot be written.
    """
    invariances = [invariance for own, invariance in run.answers if own == kernel]
    name = NAMES[dataset.measure]
    rows = [_row(dataset, run, kernel, invariances, int(query)) for query in choose_queries(run, kernel, count, seed)]
    title = f"{run.model}, database of {run.size}, {kernel}"
    page = (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{html.escape(title)}</title><style>{STYLE}</style>"
        f"<h1>{html.escape(title)}</h1><p>{len(rows)} queries, marked blue, each with the best answer of each "
        f"invariance and its {name}; bold where it is the highest. Under each query: the {name} of the best possible "
        f"answer.</p>{''.join(rows)}</html>\n"
    )
    try:
        path.write_text(page, encoding="utf-8", errors="replace")
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from error


def choose_queries(run: Run, kernel: str, count: int, seed: int) -> IndexVector:
    """Choose queries to show: those with the largest differences first, then random ones.

    Parameters
    ----------
    run : Run
    kernel : str
    count, seed : int

    Returns
    -------
    ndarray of shape (n,), intp
        Rows of queries; n is at most `count`.
    """
    total = len(run.split.queries)
    order = np.random.default_rng([seed, 5]).permutation(total)
    cells = ((kernel, "permutation"), (kernel, "none"))
    if all(cell in run.values for cell in cells):
        one, other = (run.values[cell][:, 0] for cell in cells)
        telling = order[np.argsort(-np.abs(one - other)[order], kind="stable")][: count // 2]
        order = np.concatenate([telling, order[~np.isin(order, telling)]])
    return order[:count]


def _row(dataset: Dataset, run: Run, kernel: str, invariances: list[str], query: int) -> str:
    values = [float(run.values[kernel, invariance][query, 0]) for invariance in invariances]
    picture, best = int(run.split.queries[query]), float(run.references["oracle"][query])
    cells = [_cell(dataset, picture, "query", best, kind="query")]
    for invariance, value in zip(invariances, values, strict=True):
        answer = int(run.database[run.answers[kernel, invariance].rows[query, 0]])
        cells.append(_cell(dataset, answer, invariance, value, kind="best" if value == max(values) else ""))
    return f"<section>{''.join(cells)}</section>"


def _cell(dataset: Dataset, picture: int, label: str, value: float, *, kind: str) -> str:
    path = dataset.paths[picture]
    counts = dataset.counts[picture]
    content = ", ".join((f"{counts[c]} " if counts[c] > 1 else "") + dataset.classes[c] for c in np.flatnonzero(counts))
    text = f"{html.escape(label)} {value:.2f} <small>{html.escape(content)}</small>"
    return f"<figure class='{kind}'>{_image(path)}<figcaption>{text}</figcaption></figure>"


def _image(path: Path) -> str:
    try:
        data = base64.b64encode(thumbnail(path, 220)).decode("ascii")
    except ImageDecodeError:
        return f"<p>{html.escape(path.name)} cannot be read</p>"
    return f'<img src="data:image/jpeg;base64,{data}" alt="{html.escape(path.name)}">'
