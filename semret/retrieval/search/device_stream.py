"""Many queries against a stream of candidates, with a GPU that rules out what cannot be among the best."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch

from semret.arrays import IdVector, IndexVector
from semret.integer_tokens import IntegerTokens
from semret.retrieval.search.best_k import BestK, Tokens
from semret.retrieval.search.device_maps import Standings, part_of
from semret.retrieval.similarity.device_tiles import require_device
from semret.retrieval.similarity.integer_maps import IntegerMaps, prepare_integers
from semret.retrieval.similarity.maps import Maps, prepare, unit_of


class StreamOnDevice:
    """What several searches have found so far of one stream, on a device.

    Parameters
    ----------
    searches : sequence of BestK
        Their candidates are entered here; what is left is compared by them, so their answers are the processor's.
    device : str
        ``cuda`` or ``cuda:N``.

    Raises
    ------
    ArgumentError
        If there is no such device, or Triton is missing.
    """

    def __init__(self, searches: Sequence[BestK], device: str) -> None:
        self._searches, self._device = list(searches), require_device(device)
        self._standings = [
            Standings(best.query, k=best.options.k, kernel=best.options.kernel, sigma=best.sigma, device=self._device)
            for best in self._searches
        ]

    def compare(self, rows: IndexVector, ids: IdVector, tokens: Tokens) -> None:
        """Compare all searches with some candidates.

        Parameters
        ----------
        rows, ids, tokens
            See `semret.retrieval.search.best_k.BestK.compare`.

        Raises
        ------
        ArgumentError, ShapeError, NonFiniteError
            See there.
        """
        first = self._searches[0]
        prepared = self._prepared(first.admitted(tokens))
        if _monstrous(prepared) or any(_monstrous(best.query) for best in self._searches):
            for best in self._searches:
                best.compare(rows, ids, tokens)
            return
        part = part_of(prepared, self._device)
        for best, standings in zip(self._searches, self._standings, strict=True):
            begun = time.perf_counter()
            allowed = np.arange(len(ids)) if best.excluded is None else np.flatnonzero(~np.isin(ids, best.excluded))
            places, bounds = standings.contest(part, torch.from_numpy(allowed).to(self._device))
            kept = np.sort(places[(bounds >= standings.goal).cpu().numpy()])
            best.rule_out(len(allowed) - len(kept), time.perf_counter() - begun)
            if len(kept):
                best.compare(rows[kept], ids[kept], tokens[kept])

    def _prepared(self, tokens: Tokens) -> IntegerMaps | Maps:
        best = self._searches[0]
        if isinstance(tokens, IntegerTokens):
            return prepare_integers(tokens, "the candidates' tokens", threads=best.options.threads)
        maps = prepare(tokens, best.center, "the candidates' tokens", threads=best.options.threads)
        wanted = best.query
        if isinstance(wanted, Maps) and wanted.tokens.dtype != maps.tokens.dtype:
            wide = maps.tokens.astype(np.result_type(wanted.tokens, maps.tokens))
            return Maps(
                tokens=wide,
                token_squares=maps.token_squares,
                squared_norms=maps.squared_norms,
                exponents=maps.exponents,
            )
        return maps


def _monstrous(maps: IntegerMaps | Maps) -> bool:
    """Tell whether products of maps may leave float32, or be in units of their own."""
    return bool(maps.exponents.any()) or (isinstance(maps, Maps) and unit_of(maps) != 1)
