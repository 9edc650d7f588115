"""The command line with the tiny network of the tests, as a script: ``cli_driver.py LOAD EMBED ARGUMENT...``.

LOAD and EMBED are the seconds that loading the network and each pass of it take, to give a test time to look.
"""

import importlib.util
import sys
import time
from pathlib import Path

spec = importlib.util.spec_from_file_location("semret_tests_conftest", Path(__file__).with_name("conftest.py"))
conftest = importlib.util.module_from_spec(spec)
spec.loader.exec_module(conftest)

from semret.index.backbones import registry  # noqa: E402

load_seconds, embed_seconds = map(float, sys.argv[1:3])


class SlowBackbone(conftest.TinyBackbone):
    def embed(self, batch):
        time.sleep(embed_seconds)
        return super().embed(batch)


def create(name, **options):
    time.sleep(load_seconds)
    return SlowBackbone()


registry.create_backbone = create
sys.argv = ["semret", *sys.argv[3:]]

from semret.__main__ import main  # noqa: E402

if __name__ == "__main__":
    main()
