"""Where the program starts: ``semret``, and ``python -m semret`` where its script is not on the path."""

import gc
import sys

# Nothing large is imported before Ctrl-C is understood.
from semret.commands import interrupt

_BETWEEN_COLLECTIONS = 100_000
"""Objects made between two looks for unused circles. Imports make many that stay: by default a search looks at all of
them again and again, for 7 % of its processor time."""


def main() -> None:
    """Run the command line."""
    interrupt.watch()
    gc.set_threshold(_BETWEEN_COLLECTIONS)
    from semret import cli

    cli.run()


if __name__ == "__main__":
    if not sys.flags.safe_path:
        # Python puts the current folder first: a typing.py or torch.py among somebody's pictures would be imported.
        del sys.path[0]
    main()
