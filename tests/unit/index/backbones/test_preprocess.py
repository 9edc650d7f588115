"""Our preprocessing against the libraries' own processors, pixel for pixel, on pictures of real sizes."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from semret.errors import ArgumentError, BackboneError
from semret.index.backbones.hf_processors import find_preprocessing, read_preprocessing
from semret.index.backbones.preprocess import prepare_image, with_size
from semret.index.backbones.registry import list_backbones, spec_of
from semret.index.backbones.spec import Preprocessing

SIZES = [(640, 480), (481, 641), (1023, 577), (333, 500), (224, 224), (90, 61)]


def picture(width: int, height: int) -> Image.Image:
    """Return noise over a gradient: edges everywhere, so that a shift of one pixel is seen."""
    rng = np.random.default_rng(width * 10_000 + height)
    ramp = np.add.outer(np.arange(height) * 0.2, np.arange(width) * 0.1)[..., None]
    return Image.fromarray(((ramp + rng.integers(0, 160, (height, width, 3))) % 256).astype(np.uint8))


def official(name: str) -> Any:
    """Return the library's Pillow processor, with the settings that the model's own files prescribe."""
    from transformers import models

    imagenet = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    half = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    if name.startswith("dinov2"):
        cls = models.bit.image_processing_pil_bit.BitImageProcessorPil
        return cls(size={"shortest_edge": 256}, crop_size={"height": 224, "width": 224}, resample=3, **imagenet)
    if name == "bit":
        cls = models.bit.image_processing_pil_bit.BitImageProcessorPil
        return cls(size={"shortest_edge": 448}, crop_size={"height": 448, "width": 448}, resample=2, **half)
    if name.startswith(("resnet", "convnext")):
        cls = models.convnext.image_processing_pil_convnext.ConvNextImageProcessorPil
        return cls(size={"shortest_edge": 224}, crop_pct=0.875, resample=3, **imagenet)
    if name == "sam":
        cls = models.sam.image_processing_pil_sam.SamImageProcessorPil
        return cls(size={"longest_edge": 1024}, pad_size={"height": 1024, "width": 1024}, resample=2, **imagenet)
    edge = {"clipseg": 352, "vit-l32": 384}.get(name, 224)
    colours = imagenet if name == "clipseg" or name.startswith("dinov3") else half
    cls = models.vit.image_processing_pil_vit.ViTImageProcessorPil
    return cls(size={"height": edge, "width": edge}, resample=3 if name == "siglip" else 2, **colours)


def levels(pixels: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """Return normalised values as pixel values from 0 to 255."""
    mean, std = (np.array(value)[:, None, None] for value in (preprocessing.mean, preprocessing.std))
    return (pixels * std + mean) * 255


# The flexible SigLIP 2 keeps the aspect ratio and has no fixed size; ours is a documented squash.
COMPARED = [spec.name for spec in list_backbones() if spec.family == "hf" and spec.name != "siglip2-naflex"]


@pytest.mark.parametrize("name", COMPARED)
def test_named_backbones_agree_with_the_librarys_processor(name: str) -> None:
    processor = official(name)
    preprocessing = spec_of(name).preprocessing
    assert preprocessing is not None
    for size in SIZES if name != "sam" else SIZES[:3]:
        image = picture(*size)
        theirs = np.asarray(processor(image, return_tensors="np")["pixel_values"][0])
        ours = prepare_image(image, preprocessing)
        assert ours.shape == theirs.shape == (3, *preprocessing.size)
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, theirs, atol=2e-6, err_msg=f"{name} {size}")


@pytest.mark.parametrize("size", SIZES)
def test_clip_agrees_with_open_clips_transform(size: tuple[int, int]) -> None:
    import open_clip

    preprocessing = spec_of("clip").preprocessing
    assert preprocessing is not None
    transform = open_clip.image_transform(
        224, is_train=False, mean=preprocessing.mean, std=preprocessing.std, resize_mode="shortest"
    )
    image = picture(*size)
    np.testing.assert_allclose(prepare_image(image, preprocessing), transform(image).numpy(), atol=2e-6)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("network", ["resnet18", "vit_tiny_patch16_224", "tf_efficientnet_lite0"])
def test_timm_agrees_with_its_transform(network: str, size: tuple[int, int]) -> None:
    import timm

    from semret.index.backbones.timm import read_preprocessing as read_timm

    model = timm.create_model(network)
    transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=model))
    image = picture(*size)
    np.testing.assert_allclose(prepare_image(image, read_timm(model)), transform(image).numpy(), atol=2e-6)


def test_the_torchvision_back_end_stays_within_two_levels() -> None:
    """The library's default back end resizes tensors; it differs from Pillow by rounding only."""
    from transformers import BitImageProcessor

    processor = BitImageProcessor(
        size={"shortest_edge": 256}, crop_size={"height": 224, "width": 224}, resample=3,
        image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225],
    )  # fmt: skip
    preprocessing = spec_of("dinov2").preprocessing
    assert preprocessing is not None
    image = picture(640, 480)
    theirs = levels(np.asarray(processor(image, return_tensors="pt")["pixel_values"][0]), preprocessing)
    difference = np.abs(levels(prepare_image(image, preprocessing), preprocessing) - theirs)
    assert difference.max() <= 2.01


def flat(**changes: Any) -> Preprocessing:
    settings: dict[str, Any] = {"size": (40, 40), "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    return Preprocessing(**(settings | changes))


def test_values_are_normalised_per_channel_by_hand() -> None:
    image = Image.new("RGB", (40, 40), (255, 0, 51))
    pixels = prepare_image(image, flat(mean=(0.5, 0.25, 0.2), std=(0.5, 0.5, 0.1)))
    np.testing.assert_allclose(pixels[:, 0, 0], [1.0, -0.5, 0.0], atol=1e-7)
    assert pixels.shape == (3, 40, 40)


def test_letterbox_centres_the_picture_between_bars_of_the_mean_colour() -> None:
    pixels = prepare_image(Image.new("RGB", (80, 40), (255, 255, 255)), flat(geometry="letterbox"))
    assert (pixels[:, :10] == 0).all()
    assert (pixels[:, 10:30] == 1).all()
    assert (pixels[:, 30:] == 0).all()


def test_corner_puts_the_picture_at_the_upper_left() -> None:
    pixels = prepare_image(Image.new("RGB", (40, 80), (255, 255, 255)), flat(geometry="corner"))
    assert (pixels[:, :, :20] == 1).all()
    assert (pixels[:, :, 20:] == 0).all()


@pytest.mark.parametrize("geometry", ["squash", "crop", "letterbox", "corner"])
@pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 1), (39, 41), (2000, 3)])
def test_every_geometry_takes_extreme_pictures(geometry: str, size: tuple[int, int]) -> None:
    preprocessing = with_size(flat(), (32, 48), geometry)
    pixels = prepare_image(Image.new("RGB", size, (255, 255, 255)), preprocessing)
    assert pixels.shape == (3, 32, 48)
    assert np.isin(pixels, (0, 1)).all()
    assert (pixels == 1).any()


def test_a_picture_that_is_not_rgb_is_refused() -> None:
    with pytest.raises(ArgumentError, match="this one is L"):
        prepare_image(Image.new("L", (4, 4)), flat())


def test_threads_give_what_one_thread_gives() -> None:
    preprocessing = with_size(flat(), (96, 96), "crop")
    images = [picture(*size) for size in SIZES]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda image: prepare_image(image, preprocessing), images * 4))
    for image, pixels in zip(images * 4, together, strict=True):
        np.testing.assert_array_equal(pixels, prepare_image(image, preprocessing))


def test_another_size_keeps_the_share_that_the_crop_cuts_away() -> None:
    dinov2 = spec_of("dinov2").preprocessing
    assert dinov2 is not None
    assert with_size(dinov2, None) == dinov2
    assert with_size(dinov2, (448, 448)).resize_edge == 512
    assert with_size(dinov2, (224, 448)).resize_edge == 512
    assert with_size(dinov2, (448, 448), "squash").resize_edge is None


@pytest.mark.parametrize("size", [(0, 10), (10, -1)])
def test_a_size_that_is_not_positive_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ArgumentError, match="not positive"):
        with_size(flat(), size)


def test_an_unknown_geometry_is_refused() -> None:
    with pytest.raises(ArgumentError, match="squash, crop, letterbox, corner"):
        with_size(flat(), None, "stretch")


CLIP_FILE = {
    "crop_size": {"height": 30, "width": 30}, "do_center_crop": True, "image_processor_type": "CLIPImageProcessor",
    "image_mean": [0.4, 0.4, 0.4], "image_std": [0.3, 0.3, 0.3], "resample": 3, "size": {"shortest_edge": 36},
}  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (CLIP_FILE, ((30, 30), "crop", 36, "bicubic")),
        (CLIP_FILE | {"crop_size": 30, "size": 36}, ((30, 30), "crop", 36, "bicubic")),
        ({"feature_extractor_type": "ViTFeatureExtractor", "size": 48}, ((48, 48), "squash", None, "bilinear")),
        ({"size": {"height": 20, "width": 40}, "resample": 1}, ((20, 40), "squash", None, "lanczos")),
        (
            {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 224}, "crop_pct": 0.875},
            ((224, 224), "crop", 256, "bicubic"),
        ),
        (
            {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 384}, "crop_pct": 1.0},
            ((384, 384), "squash", None, "bicubic"),
        ),
        (
            {"size": {"longest_edge": 64}, "do_pad": True, "pad_size": {"height": 64, "width": 64}},
            ((64, 64), "corner", None, "bilinear"),
        ),
    ],
)
def test_saved_settings_are_understood(settings: dict[str, Any], expected: tuple[Any, ...]) -> None:
    found = read_preprocessing(settings)
    assert (found.size, found.geometry, found.resize_edge, found.interpolation) == expected


def test_without_normalisation_pixels_stay_between_0_and_1() -> None:
    found = read_preprocessing({"size": {"height": 8, "width": 8}, "do_normalize": False})
    assert (found.mean, found.std) == ((0, 0, 0), (1, 1, 1))


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"size": {"shortest_edge": 300}}, "open"),
        ({"do_resize": False}, "does not resize"),
        ({"size": {"height": 8, "width": 8}, "rescale_factor": 0.01}, "1/255"),
        ({"size": {"height": 8, "width": 8}, "resample": 5}, "filter 5"),
    ],
)
def test_settings_that_cannot_be_carried_out_are_refused(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(BackboneError, match=complaint):
        read_preprocessing(settings)


def test_the_file_may_be_missing_damaged_or_nested(tmp_path: Path) -> None:
    assert find_preprocessing(tmp_path) is None
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": CLIP_FILE}))
    found = find_preprocessing(tmp_path)
    assert found is not None
    assert found.size == (30, 30)
    (tmp_path / "preprocessor_config.json").write_text("{")
    with pytest.raises(BackboneError, match="no readable JSON"):
        find_preprocessing(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(CLIP_FILE | {"image_mean": "grey"}))
    with pytest.raises(BackboneError, match="no preprocessing that semret knows"):
        find_preprocessing(tmp_path)


@pytest.mark.parametrize("size", [(100_000, 1), (1, 100_000)])
def test_a_strip_is_cropped_without_being_resized_whole(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    strip = Image.new("RGB", size, (10, 20, 30))
    strip.putpixel((size[0] // 2, size[1] // 2), (250, 240, 230))
    pixels = Preprocessing(size=(224, 224), geometry="crop", resize_edge=256, mean=(0.0,) * 3, std=(1.0,) * 3)
    resized = []
    resize = Image.Image.resize

    def watched(image: Image.Image, wanted: tuple[int, int], *arguments: Any, **options: Any) -> Image.Image:
        resized.append(wanted)
        return resize(image, wanted, *arguments, **options)

    monkeypatch.setattr(Image.Image, "resize", watched)
    prepared = prepare_image(strip, pixels)
    assert prepared.shape == (3, 224, 224)
    assert prepared.max() > 0.9  # the middle is what is left
    assert max(width * height for width, height in resized) <= 32 * 256 * 256
