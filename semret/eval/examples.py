"""A page of example queries: what each invariance retrieved, and how well it agrees."""

from __future__ import annotations

import base64
import html
from pathlib import Path

import numpy as np

from semret.arrays import IndexVector
from semret.errors import ImageDecodeError, StorageError
from semret.eval.dataset import Dataset
from semret.eval.experiments.retrieval_report import NAMES, Run
from semret.index.images import thumbnail

STYLE = """body{font:15px/1.4 system-ui,sans-serif;margin:2rem;color:#222;background:#fff}
table{border-collapse:collapse}td,th{padding:.4rem .6rem;text-align:left;vertical-align:top}
tr{border-bottom:1px solid #ddd}
img{display:block;max-width:220px;height:auto}.best{font-weight:700}small{color:#555}"""


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
    head = "".join(f"<th>{html.escape(column)}</th>" for column in ["query", *invariances])
    rows = [_row(dataset, run, kernel, invariances, int(query)) for query in choose_queries(run, kernel, count, seed)]
    title = f"{run.model}, database of {run.size}, {kernel}"
    page = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(title)}</title><style>{STYLE}</style>"
        f"<h1>{html.escape(title)}</h1><p>The best answer of each invariance and its {name}; bold where it is the "
        f"highest of the row. Under each query: the {name} of the best possible answer.</p>"
        f"<table><tr>{head}</tr>{''.join(rows)}</table></html>\n"
    )
    try:
        path.write_text(page, encoding="utf-8", errors="replace")
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from error


def choose_queries(run: Run, kernel: str, count: int, seed: int) -> IndexVector:
    """Return rows of queries to show: the largest differences first, then random ones."""
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
    cells = [_cell(dataset, int(run.split.queries[query]), float(run.references["oracle"][query]), best=False)]
    for invariance, value in zip(invariances, values, strict=True):
        answer = int(run.database[run.answers[kernel, invariance].rows[query, 0]])
        cells.append(_cell(dataset, answer, value, best=value == max(values)))
    return f"<tr>{''.join(cells)}</tr>"


def _cell(dataset: Dataset, picture: int, value: float, *, best: bool) -> str:
    path = dataset.paths[picture]
    counts = dataset.counts[picture]
    content = ", ".join((f"{counts[c]} " if counts[c] > 1 else "") + dataset.classes[c] for c in np.flatnonzero(counts))
    label = f'<span class="{"best" if best else ""}">{value:.2f}</span> <small>{html.escape(content)}</small>'
    return f"<td>{_image(path)}{label}</td>"


def _image(path: Path) -> str:
    try:
        data = base64.b64encode(thumbnail(path, 220)).decode("ascii")
    except ImageDecodeError:
        return f"<p>{html.escape(path.name)} cannot be read</p>"
    return f'<img src="data:image/jpeg;base64,{data}" alt="{html.escape(path.name)}">'
