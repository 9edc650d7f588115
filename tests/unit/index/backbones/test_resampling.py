"""The fast resize gives Pillow's pixels, or leaves the picture to Pillow."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from semret.index.backbones import resampling
from semret.index.backbones.resampling import FILTERS, Resizer

SIZES = [
    ((640, 480), (384, 384)),
    ((480, 640), (384, 384)),
    ((501, 333), (336, 224)),
    ((90, 60), (300, 200)),
    ((60, 90), (384, 51)),
    ((300, 50), (37, 224)),
    ((1023, 3), (17, 5)),
    ((3, 1023), (5, 17)),
    ((1, 1), (7, 3)),
    ((5, 300), (1, 1)),
    ((128, 77), (64, 77)),
    ((77, 128), (77, 256)),
]


def noise(size: tuple[int, int], seed: int) -> Image.Image:
    levels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(levels)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "lanczos", "nearest"])
@pytest.mark.parametrize(("before", "after"), SIZES)
def test_every_picture_has_the_pixels_that_pillow_gives(
    before: tuple[int, int], after: tuple[int, int], interpolation: str
) -> None:
    resizer = Resizer(few=0)
    for seed in range(5):
        image = noise(before, seed)
        expected = np.asarray(image.resize(after, FILTERS[interpolation]))
        assert np.array_equal(resizer.resize(image, *after, interpolation), expected)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_pairs_of_sizes_that_come_again_are_taken_from_pillow(interpolation: str, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    resizer = Resizer(few=0)
    for before, after in (((640, 480), (384, 384)), ((480, 640), (384, 384)), ((128, 77), (64, 77))):
        images = [noise(before, seed) for seed in range(4)]
        expected = [np.asarray(image.resize(after, FILTERS[interpolation])) for image in images]
        for image in images[:2]:
            resizer.resize(image, *after, interpolation)
        with monkeypatch.context() as patch:
            patch.setattr(Image.Image, "resize", None)
            found = [resizer.resize(image, *after, interpolation) for image in images]
        assert all(np.array_equal(*pair) for pair in zip(found, expected, strict=True))


def test_random_sizes_have_the_pixels_that_pillow_gives() -> None:
    resizer, random = Resizer(few=0), np.random.default_rng(0)
    for _ in range(150):
        width, height, *after = (int(side) for side in random.integers(1, 150, 4))
        for seed in range(3):
            image = noise((width, height), seed)
            expected = np.asarray(image.resize((after[0], after[1]), Image.Resampling.BICUBIC))
            assert np.array_equal(resizer.resize(image, after[0], after[1], "bicubic"), expected)


def test_a_plain_picture_proves_nothing() -> None:
    resizer = Resizer(few=0)
    plain = Image.new("RGB", (64, 48), (10, 200, 30))
    for _ in range(3):
        resizer.resize(plain, 32, 40, "bicubic")
    assert set(resizer._orders.values()) == {"unknown"}
    for seed in range(3):
        expected = np.asarray(noise((64, 48), seed).resize((32, 40), Image.Resampling.BICUBIC))
        assert np.array_equal(resizer.resize(noise((64, 48), seed), 32, 40, "bicubic"), expected)


def test_pixels_that_pillow_gives_otherwise_are_left_to_pillow(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    real = resampling.coefficients

    def wrong(before: int, after: int, interpolation: str):  # type: ignore[no-untyped-def]
        starts, weights = real(before, after, interpolation)
        return starts, weights + 2**10

    monkeypatch.setattr(resampling, "coefficients", wrong)
    resizer = Resizer(few=0)
    for seed in range(4):
        expected = np.asarray(noise((64, 48), seed).resize((32, 40), Image.Resampling.BICUBIC))
        assert np.array_equal(resizer.resize(noise((64, 48), seed), 32, 40, "bicubic"), expected)


def test_few_pictures_make_no_machine_code(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    made = []
    monkeypatch.setattr(resampling, "make_code", lambda: made.append(1))
    resizer = Resizer()
    for seed in range(resampling.FEW):
        resizer.resize(noise((64, 48), seed), 32, 40, "bicubic")
    assert not made


def test_without_a_compiler_pillow_does_it(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    def refuse() -> None:
        raise RuntimeError("no such processor")

    monkeypatch.setattr(resampling, "make_code", refuse)
    resizer = Resizer(few=0)
    for seed in range(4):
        expected = np.asarray(noise((64, 48), seed).resize((32, 40), Image.Resampling.BICUBIC))
        assert np.array_equal(resizer.resize(noise((64, 48), seed), 32, 40, "bicubic"), expected)


def test_normalised_numbers_are_the_same_bits() -> None:
    resizer = Resizer(few=0)
    random = np.random.default_rng(1)
    mean, deviation = (random.uniform(1, 200, 3 * 37).astype(np.float32) for _ in range(2))
    pixels = np.asarray(noise((37, 21), 0))
    before = resizer.normalise(pixels, mean, deviation)
    for seed in range(3):
        resizer.resize(noise((64, 48), seed), 32, 40, "bicubic")
    assert resizer._code is not None
    after = resizer.normalise(pixels, mean, deviation)
    assert np.array_equal(before.view(np.uint32), after.view(np.uint32))
    cut = resizer.normalise(np.asarray(noise((50, 30), 0))[3:24, 5:42], mean, deviation)
    assert cut.shape == (21, 37, 3)


def test_many_threads_share_a_resizer() -> None:
    resizer = Resizer(few=0)
    images = [noise((90, 70), seed) for seed in range(60)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda image: resizer.resize(image, 40, 44, "bicubic"), images))
    for image, pixels in zip(images, found, strict=True):
        assert np.array_equal(pixels, np.asarray(image.resize((40, 44), Image.Resampling.BICUBIC)))
