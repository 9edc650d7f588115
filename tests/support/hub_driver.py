"""Run commands that fetch and load a network of transformers; a driver, started by `tests.e2e.test_download`.

Its jobs are those of `tests.support.stream_driver`. What loads such a network takes seconds to import; the client of
the hub reads its environment when it is imported, which is that of the driver.
"""

import torch  # noqa: F401 - imported before forking, not in each fork
import transformers

import semret.index.backbones.hf
import semret.index.pictures.sources  # noqa: F401
from semret.cli import app
from tests.support.commands import invoke
from tests.support.processes import serve
from tests.support.stream_driver import perform

if __name__ == "__main__":
    transformers.ResNetForImageClassification  # noqa: B018 - is imported when it is asked for
    invoke(app, "info", "--index", "nowhere")
    serve(perform)
