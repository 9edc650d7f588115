"""The text tower of networks of transformers: sentences to embeddings that pictures can be compared with.

transformers is imported where it is used, because that takes seconds.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from semret.errors import BackboneError, cut_text
from semret.foreign import read_regular
from semret.index.backbones.folder import read_configuration

TOKENIZER_FILES = (
    "tokenizer_config.json",
    "tokenizer.json",
    "special_tokens_map.json",
    "spiece.model",
    "vocab.json",
    "merges.txt",
)
"""Files of a saved model that a tokenizer may consist of."""

_TOKENIZER_BYTES = 128 << 20
"""More than any vocabulary takes; the largest have 35 MB."""


class TextTower:
    """Sentences to embeddings in the space of the image embeddings; the tokenizer loads on first use.

    Sentences are prepared as SigLIP and SigLIP 2 were trained [1]_, whatever the tokenizer's own settings: in lower
    case, filled up at the end to the full length, and the filling takes part in attention. Not every tokenizer that
    comes with these models does so by itself.

    Parameters
    ----------
    network : torch.nn.Module
        With a method ``get_text_features``.
    config : transformers.PretrainedConfig
        Its own; the length of its text context is taken from there.
    directory : Path
        Saved model with the files of the tokenizer.

    References
    ----------
    .. [1] Tschannen et al.: SigLIP 2: Multilingual Vision-Language Encoders with Improved Semantic Understanding,
       Localization, and Dense Features, 2025, arXiv:2502.14786.
    """

    def __init__(self, network: nn.Module, config: Any, directory: Path) -> None:
        self._network: Any = network
        self._length = int(getattr(config, "text_config", config).max_position_embeddings)
        self._directory = directory
        self._tokenizer: Any = None

    def __call__(self, sentences: list[str]) -> Tensor:
        """Return the embeddings of sentences.

        Parameters
        ----------
        sentences : list of str
            N of them; what is longer than the model's context is cut off.

        Returns
        -------
        Tensor of shape (N, D)
            On the network's device.

        Raises
        ------
        BackboneError
            If the directory holds no usable tokenizer.
        """
        if self._tokenizer is None:
            self._tokenizer = self._load()
        tokens = self._tokenizer(
            [sentence.lower() for sentence in sentences],
            padding="max_length",
            max_length=self._length,
            truncation=True,
            return_tensors="pt",
        )
        device = next(self._network.parameters()).device
        output = self._network.get_text_features(input_ids=tokens["input_ids"].to(device))
        embeddings: Tensor = output if isinstance(output, Tensor) else output.pooler_output
        return embeddings

    def _load(self) -> Any:
        import transformers

        with tempfile.TemporaryDirectory(prefix="semret-") as copy:
            _copy_tokenizer(self._directory, Path(copy))
            try:
                with quiet():
                    tokenizer = transformers.AutoTokenizer.from_pretrained(
                        copy, trust_remote_code=False, local_files_only=True
                    )
            except Exception as error:  # of the many tokenizers, each fails in its own way
                reason = cut_text(str(error).replace(copy, str(self._directory)) or type(error).__name__)
                raise BackboneError(
                    f"{self._directory} holds no usable tokenizer for text queries: {reason}"
                ) from error
        tokenizer.padding_side = "right"
        return tokenizer


def _copy_tokenizer(directory: Path, target: Path) -> None:
    """Copy what makes a tokenizer, less what names code or other files: the library would follow it."""
    kind = read_configuration(directory / "config.json").get("model_type")
    (target / "config.json").write_text(json.dumps({"model_type": kind}), encoding="utf-8")
    for name in TOKENIZER_FILES:
        if not (directory / name).exists():
            continue
        if name == "tokenizer_config.json":
            settings = read_configuration(directory / name)
            kept = {key: value for key, value in settings.items() if not key.endswith(("_file", "_files"))}
            (target / name).write_text(json.dumps(kept), encoding="utf-8")
            continue
        try:
            (target / name).write_bytes(read_regular(directory / name, most=_TOKENIZER_BYTES))
        except OSError as error:
            raise BackboneError(f"cannot read {directory / name}: it {error.strerror or error}") from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """For the length of a ``with`` block, keep the reports and bars of transformers off the terminal.

    Yields
    ------
    None
    """
    from transformers.utils import logging as reports

    level, bars = reports.get_verbosity(), reports.is_progress_bar_enabled()
    reports.set_verbosity(reports.CRITICAL)
    reports.disable_progress_bar()
    try:
        yield
    finally:
        reports.set_verbosity(level)
        if bars:
            reports.enable_progress_bar()
