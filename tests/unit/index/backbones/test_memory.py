from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from semret.errors import BackboneError
from semret.index.backbones.features import Features
from semret.index.backbones.memory import embed_what_fits, is_out_of_memory


def embedder(largest: int, error: Exception, *, logits: bool = True) -> tuple[list[int], object]:
    """Return a network that takes at most `largest` images at once, and the list of batch sizes it was given."""
    sizes: list[int] = []

    def embed(batch: np.ndarray) -> Features:
        sizes.append(len(batch))
        if len(batch) > largest:
            raise error
        value = batch.reshape(len(batch), -1)[:, :1]
        return Features(
            tokens=np.tile(value[:, None], (1, 4, 2)), pooled=value, grid=(2, 2), logits=value * 2 if logits else None
        )

    return sizes, embed


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to"),
        RuntimeError("MPS backend out of memory (MPS allocated: 5 GB)"),
    ],
)
@pytest.mark.parametrize("logits", [True, False])
def test_a_batch_is_halved_until_it_fits(error: Exception, logits: bool, caplog: pytest.LogCaptureFixture) -> None:
    sizes, embed = embedder(2, error, logits=logits)
    batch = np.arange(7, dtype=np.float32).reshape(7, 1, 1, 1)
    with caplog.at_level(logging.WARNING):
        features = embed_what_fits(embed, batch, "net")
    np.testing.assert_array_equal(features.pooled[:, 0], range(7))
    np.testing.assert_array_equal(features.tokens[:, 3, 1], range(7))
    assert features.tokens.shape == (7, 4, 2)
    assert (features.logits is not None) == logits
    assert sizes == [7, 3, 1, 2, 4, 2, 2]
    assert "trying 3" in caplog.text


def test_one_image_that_does_not_fit_is_an_error_with_a_way_out() -> None:
    _, embed = embedder(0, MemoryError())
    with pytest.raises(BackboneError, match=r"one picture of 64x48.*smaller --size"):
        embed_what_fits(embed, np.zeros((4, 3, 64, 48), np.float32), "net")


def test_other_errors_are_not_taken_for_lack_of_memory() -> None:
    sizes, embed = embedder(0, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="mat1"):
        embed_what_fits(embed, np.zeros((4, 3, 2, 2), np.float32), "net")
    assert sizes == [4]
    assert not is_out_of_memory(ValueError("no memory of it"))


def test_torchs_own_exception_is_recognised() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
