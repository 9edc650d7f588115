"""``python -m semret``: the command line, where its script is not on the path."""

import sys

if __name__ == "__main__":
    if not sys.flags.safe_path:
        # Python puts the current folder first: a typing.py or torch.py among somebody's pictures would be imported.
        del sys.path[0]

    from semret.cli import main

    main()
