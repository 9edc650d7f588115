"""The option ``--ray``, whose address may be left out: ``--ray`` alone is ``--ray auto``."""

from __future__ import annotations

from collections.abc import Sequence

NAME = "--ray"


def with_address(arguments: Sequence[str], *, takes_paths: bool) -> list[str]:
    """Return what was typed, with the address of the computer's own cluster after each ``--ray`` that has none.

    What follows is the address if it looks like one, or if the command takes nothing else that could stand there. So
    ``semret index --ray photos`` indexes photos, and of ``semret serve --ray node7`` it is said what addresses are.

    Parameters
    ----------
    arguments : sequence of str
    takes_paths : bool
        Whether the command takes arguments beside its options.

    Returns
    -------
    list of str
        What is behind ``--`` is left as it is.
    """
    if NAME not in arguments:
        return list(arguments)
    # Sockets take a while to import, and most commands ask for no cluster.
    from semret.cluster.connection import AUTO, looks_like_cluster

    def is_meant(text: str) -> bool:
        # Nothing at all, as of a variable that is not set, is not the same as no address.
        return not text or (looks_like_cluster(text) if takes_paths else not text.startswith("-"))

    given: list[str] = []
    for place, argument in enumerate(arguments):
        given.append(argument)
        if argument == "--":
            return [*given, *arguments[place + 1 :]]
        if argument == NAME and not any(map(is_meant, arguments[place + 1 : place + 2])):
            given.append(AUTO)
    return given
