"""The command line with the tiny network of the tests, as a script: ``cli_driver LOAD EMBED ARGUMENT...``.

LOAD and EMBED are the seconds that loading the network and each pass of it take, to give a test time to look. Where
SEMRET_TESTS_TELL is set, the beginning and end of each pass are told on stdout. With SEMRET_TESTS_TEXT, it has a text
tower.
"""

import hashlib
import os
import sys
import time

import numpy as np

from semret.index.backbones import registry
from tests.support.networks import CHANNELS, TinyBackbone


class SlowBackbone(TinyBackbone):
    """The tiny network, with a pause in each pass."""

    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds

    def embed(self, batch):
        tell("embedding")
        time.sleep(self.seconds)
        tell("embedded")
        return super().embed(batch)

    def embed_text(self, sentences):
        if not os.environ.get("SEMRET_TESTS_TEXT"):
            return super().embed_text(sentences)
        digests = [hashlib.sha256(sentence.encode()).digest()[:CHANNELS] for sentence in sentences]
        return np.array([list(digest) for digest in digests], dtype=np.float32) / 128 - 1


def tell(what):
    if os.environ.get("SEMRET_TESTS_TELL"):
        print(what, flush=True)  # noqa: T201 - to the test that waits for it


def main():
    load_seconds, embed_seconds = map(float, sys.argv[1:3])

    def create(name, **options):
        time.sleep(load_seconds)
        return SlowBackbone(embed_seconds)

    registry.create_backbone = create
    sys.argv = ["semret", *sys.argv[3:]]
    from semret.__main__ import main as semret

    semret()


if __name__ == "__main__":
    main()
