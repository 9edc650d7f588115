"""Which addresses are fetched that the user has not named: those in an index, or in a list, of somebody else.

Whoever writes an index, or a list of addresses, decides what the computer that opens it asks for. So of what the user
has not named, these are fetched and nothing else, unless `ENVIRONMENT` names it: pictures on web servers of the open
internet, objects of cloud stores, and files of this computer, which are opened as those at paths are.
"""

from __future__ import annotations

import os

from semret.index.pictures.files import unreadable

ENVIRONMENT = "SEMRET_TRUST"
"""Variable with the beginnings of addresses that are fetched like those that the user names, separated by blanks."""

_WEB = "http", "https"
_STORES = "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss"
_LOCAL = "file"


def trusted(address: str) -> bool:
    """Tell whether the user trusts an address by the environment.

    Parameters
    ----------
    address : str

    Returns
    -------
    bool
        Whether it is, or lies below, one that `ENVIRONMENT` names: ``http://nas/photos`` does not stand for
        ``http://nas/photos2``.
    """
    for beginning in os.environ.get(ENVIRONMENT, "").split():
        if address == beginning or address.startswith(f"{beginning.rstrip('/')}/"):
            return True
    return False


def require_harmless(address: str) -> None:
    """Refuse an address that is not fetched unless the user names it.

    Hosts of the web are checked where they are connected to, see `semret.index.pictures.web.fetch`.

    Parameters
    ----------
    address : str

    Raises
    ------
    ImageDecodeError
        If it is one; the message says what to do.
    """
    scheme = address.partition("://")[0]
    # The web's check of hosts is that of whole pictures; a chain of addresses may lead anywhere.
    fetched = scheme in (*_STORES, _LOCAL) or (scheme in _WEB and ".tar/" not in address)
    if not fetched or "::" in address:
        raise unreadable(
            address,
            "is not fetched because an index or a list names it; set "
            f"{ENVIRONMENT} to the beginning of addresses that you trust",
        )
