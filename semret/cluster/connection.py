"""The connection of this process to a cluster."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator

from semret.errors import ArgumentError, ClusterError, cut_text

LOCAL = "local"
"""Stands for a cluster that is started on this computer and ends with the command."""

AUTO = "auto"
"""Stands for the cluster that this computer belongs to."""


@contextlib.contextmanager
def connected(address: str) -> Iterator[None]:
    """Be connected to a cluster in a ``with`` block; a connection that there is already is used, and left.

    Parameters
    ----------
    address : str
        ``local``, ``auto``, or ``HOST:PORT`` of the head.

    Yields
    ------
    None

    Raises
    ------
    ArgumentError
        If it is the address of a client (``ray://``), whose program runs elsewhere.
    ClusterError
        If there is no cluster, or it does not answer.
    """
    if address.startswith("ray://"):
        raise ArgumentError(
            f"{address} is for clients from outside; run the command on a computer of the cluster, with auto for the "
            "address, or hand it in with ray job submit"
        )
    # What this computer does is nobody else's business; Ray asks for it when it is imported.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    if ray.is_initialized():
        yield
        return
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            **({"include_dashboard": False} if address == LOCAL else {}),
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ClusterError(
            f"no cluster answers at {address}: {cut_text(error)}; start one with ray start --head, or give local"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()
