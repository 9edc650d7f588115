"""Indexing on a GPU against the bare network, in pictures a second, and what every part of it takes.

    python benchmarks/gpu_indexing.py [--device cuda] [--out gpu_indexing.md] [--json gpu_indexing.json] [--small]

A DINOv2-large with random weights is made on the spot (224 px, 256 tokens of 1,024 channels), and photos of 640 x 480
are rendered. In float32 and in bfloat16, in batches of 64:

* ``bare``: the network on batches that lie on the device already, one after another;
* ``new index``: `semret index` into a new index, the fit of the codec included;
* ``added``: as many new pictures into that index, whose codec is known;
* ``float16 tokens``: a new index with ``--codec none``.

Then the parts one by one, in milliseconds a picture on one core or on the device, how many pictures a second are read,
decoded and prepared on 1, 2, 4, ... threads, and so how many cores a thousand a second take. The network is loaded
before; medians of alternated rounds. `--small` runs a tiny network on the processor, by the way that leads to a device:
that tries the script, and its rates mean nothing. What the processor does around the network is measured on tokens of
the large network's shape in either case; and files are indexed on a pretended machine, whose card sleeps for as long as
a batch takes, and whose cores sleep while a picture would be decoded and prepared: what of the card's rate is left is
what gathering, finishing, placing and committing allow.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
import transformers
from documents import as_sentence, conditions
from PIL import Image

from semret.eval.scenes.collection import render_collection
from semret.index.backbones.features import Features, Shrunk
from semret.index.backbones.feed import LANES
from semret.index.backbones.network import TorchBackbone
from semret.index.backbones.registry import create_backbone
from semret.index.backbones.spec import Backbone, Feed, Identity, Streams
from semret.index.codec.codec import Codec
from semret.index.codec.fit import CodecFitter
from semret.index.codec.table import default_codec, parse
from semret.index.device_encoding import shrink_for
from semret.index.pictures.decode import decode_image
from semret.index.pictures.files import read_file
from semret.index.pictures.find import FoundImage
from semret.index.store.codec_file import write_codec
from semret.index.store.layout import SEGMENT_ROWS, rows_of_segment
from semret.index.store.manifest import Manifest
from semret.index.store.segments import write_segment
from semret.index.sync.loading import Loaded, Loader
from semret.index.sync.report import SyncOptions, new_manifest, usable_cores
from semret.index.sync.rows import make_rows
from semret.index.sync.sync import sync

LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}
SMALL = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
TARGET = 1000
"""Pictures a second."""

_PAST = 1_500_000_000


@dataclass(frozen=True)
class Setting:
    """What is measured, and how much of it."""

    device: str
    small: bool
    images: int
    rounds: int
    batch_size: int
    size: tuple[int, int]
    index: tuple[str, ...]
    """Precisions."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="in miniature, on the processor")
    parser.add_argument("--images", type=int, help="pictures in a run; default 2,048, small 160")
    parser.add_argument("--rounds", type=int, help="default 2, small 1")
    parser.add_argument("--batch-size", type=int, help="default 64, small 16")
    parser.add_argument("--out", type=Path, help="Markdown to write")
    parser.add_argument("--json", type=Path, help="JSON to write")
    given = parser.parse_args()
    device = "cpu" if given.small else given.device
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        parser.error("torch finds no CUDA device; --small tries the script without one")
    setting = Setting(
        device=device,
        small=given.small,
        images=given.images or (160 if given.small else 2048),
        rounds=given.rounds or (1 if given.small else 2),
        batch_size=given.batch_size or (16 if given.small else 64),
        size=(224, 224),
        index=("float32", "bfloat16"),
    )
    found = measure(setting)
    text = as_markdown(found)
    print(text)
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(text, encoding="utf-8")
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(found, indent=2), encoding="utf-8")


def measure(setting: Setting) -> dict[str, Any]:
    """Return the card, rates, parts and the scaling of loading."""
    card = torch.cuda.get_device_name(setting.device) if torch.device(setting.device).type == "cuda" else "none"
    found: dict[str, Any] = {
        "card": card,
        "conditions": conditions("torch", "transformers", "pillow", "numpy"),
        "usable_cores": usable_cores(),
        **{name: getattr(setting, name) for name in ("images", "rounds", "batch_size", "small")},
        "rates": {},
    }
    with tempfile.TemporaryDirectory() as place:
        checkpoint = make_checkpoint(Path(place, "checkpoint"), SMALL if setting.small else LARGE)
        folders = make_photos(Path(place), setting.images)
        for precision in setting.index:
            backbone = load(checkpoint, setting, precision)
            found["rates"][precision] = rates(backbone, folders, Path(place), setting)
            print(f"{precision}: {found['rates'][precision]}", flush=True)
            found.setdefault("parts", {})[precision] = parts(backbone, folders[0], Path(place), setting)
        found["loading"] = loading(backbone, folders[0])
        found["pretended"] = pretended(backbone, make_photos(Path(place, "many"), 2048)[0], Path(place))
    return found


def make_checkpoint(folder: Path, changes: dict[str, int]) -> Path:
    """Save a DINOv2 with random weights as transformers does."""
    torch.manual_seed(0)
    network = transformers.Dinov2Model(transformers.Dinov2Config(patch_size=14, image_size=518, **changes))
    network.save_pretrained(folder)
    processor = transformers.BitImageProcessor(
        size={"shortest_edge": 256},
        crop_size={"height": 224, "width": 224},
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    )
    processor.save_pretrained(folder)
    return folder


def make_photos(place: Path, count: int) -> tuple[Path, Path]:
    """Render pictures, and copy them into two folders until there are enough, each of another content."""
    place.mkdir(exist_ok=True)
    rendered = render_collection(place / "rendered", min(count, 96), seed=0)
    folders = place / "first", place / "second"
    for half, folder in enumerate(folders):
        folder.mkdir()
        for number in range(count):
            # Some bytes behind the picture: the same pixels, another content.
            source = rendered[number % len(rendered)]
            file = folder / f"{number:05d}.jpg"
            file.write_bytes(source.read_bytes() + (2 * number + half).to_bytes(4, "big"))
            os.utime(file, (_PAST, _PAST))
    return folders


def load(checkpoint: Path, setting: Setting, precision: str) -> TorchBackbone:
    backbone = create_backbone(
        "dinov2-large", weights=checkpoint, size=setting.size, device=setting.device, dtype=precision
    )
    assert isinstance(backbone, TorchBackbone)
    if setting.small:
        backbone.feeds = True  # the way to a device, with the processor in its place
    return backbone


def rates(backbone: TorchBackbone, folders: tuple[Path, Path], place: Path, setting: Setting) -> dict[str, float]:
    """Return medians of pictures a second of each way."""
    first, second = folders
    taken: dict[str, list[float]] = {name: [] for name in ("bare", "new index", "added", "float16 tokens")}

    def index(name: str, paths: list[Path], codec: str | None) -> float:
        options = SyncOptions(batch_size=setting.batch_size, codec=codec)
        started = time.perf_counter()
        report = sync(place / name, paths, lambda: backbone, options=options)
        if report.embedded != setting.images:
            raise SystemExit(f"{report.embedded} of {setting.images} pictures were embedded")
        return time.perf_counter() - started

    bare(backbone, setting, setting.batch_size)
    for turn in range(setting.rounds):
        name = f"{backbone.identity.autocast}-{turn}"
        taken["bare"].append(bare(backbone, setting, setting.images))
        taken["new index"].append(index(name, [first], None))
        taken["added"].append(index(name, [first, second], None))
        taken["float16 tokens"].append(index(f"{name}-none", [first], "none"))
    return {name: setting.images / statistics.median(seconds) for name, seconds in taken.items()}


def bare(backbone: TorchBackbone, setting: Setting, images: int) -> float:
    """Run the network on as many pictures that lie on the device; return the seconds."""
    batch = torch.randn((setting.batch_size, 3, *setting.size), device=setting.device)
    batch = batch.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        synchronise(setting.device)
        started = time.perf_counter()
        for _ in range(-(-images // setting.batch_size)):
            with backbone._precision():
                backbone._reader.run(batch)
        synchronise(setting.device)
    passes = -(-images // setting.batch_size)
    return (time.perf_counter() - started) * images / (passes * setting.batch_size)


def synchronise(device: str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def parts(backbone: TorchBackbone, folder: Path, place: Path, setting: Setting) -> dict[str, float]:
    """Return milliseconds a picture of each part: of one core, or of the device where the part is its."""
    files, size = sorted(folder.iterdir())[: 2 * setting.batch_size], setting.size
    contents = [read_file(file) for file in files]
    pictures = [decode_image(content.data, reduce_to=size) for content in contents]
    prepared = [backbone.prepare(picture) for picture in pictures][: setting.batch_size]
    lane = backbone._new_feed(setting.batch_size, 1)._free.get()
    batch, count = lane.gather(prepared), len(prepared)

    def send() -> torch.Tensor:
        images = lane.send(batch)
        lane.settle()
        return images

    images = send()
    found = {
        "read and hash": timed(lambda: [read_file(file) for file in files], len(files)),
        "decode": timed(lambda: [decode_image(content.data, reduce_to=size) for content in contents], len(files)),
        "prepare": timed(lambda: [backbone.prepare(picture) for picture in pictures], len(files)),
        "gather": timed(lambda: lane.gather(prepared), count),
        "copy to the device": timed(send, count),
    }
    with torch.inference_mode():
        found["network"] = timed(lambda: backbone._on_device(images), count, setting.device)
    identity = replace(backbone.identity, channels=LARGE["hidden_size"], pooled_dim=LARGE["hidden_size"])
    tokens = torch.randn((count, identity.grid[0] * identity.grid[1], identity.channels), device=setting.device)
    found["tokens back, whole"] = timed(lambda: lane.fetch({"tokens": tokens}), count)
    features = Features(tokens.cpu().numpy(), tokens.cpu().numpy().mean(axis=1), identity.grid)
    batch_of = [Loaded(f"{file}", 1, 1, b"0" * 32, picture=(640, 480)) for file in files[:count]]
    codec = fitted(identity, features, found)
    (place / "codec").mkdir(exist_ok=True)
    entry = write_codec(place / "codec", codec)
    manifest = replace(new_manifest(identity, SyncOptions()), codec_file=entry)
    around(Way(lane, manifest, codec, tokens, features, batch_of, place, setting.device), "", found)
    plain = new_manifest(identity, SyncOptions(codec="none"))
    around(Way(lane, plain, None, tokens, features, batch_of, place, setting.device), ", float16", found)
    return found


@dataclass(frozen=True)
class Way:
    """What follows the network, for one form in which tokens are stored."""

    lane: Any
    manifest: Manifest
    codec: Codec | None
    tokens: torch.Tensor
    features: Features
    pictures: list[Loaded]
    place: Path
    device: str


def around(way: Way, name: str, found: dict[str, float]) -> None:
    """Time encoding on the device and on the processor, the way back, and writing."""
    shrink, count = shrink_for(way.manifest, way.codec), len(way.pictures)
    assert shrink is not None
    found[f"encode on the device{name}"] = timed(lambda: shrink(way.tokens), count, way.device)
    made = shrink(way.tokens)
    found[f"back{name}"] = timed(lambda: way.lane.fetch(made), count)
    back = way.lane.fetch(made)
    left = [int(place) for place in np.flatnonzero(back.pop("open"))]
    whole = {place: way.features.tokens[place] for place in left}
    shrunk = Shrunk(back, whole, way.features.pooled, way.features.grid)
    rows = make_rows(way.manifest, way.codec, way.pictures, shrunk)
    found[f"finish{name}"] = timed(lambda: make_rows(way.manifest, way.codec, way.pictures, shrunk), count)
    found[f"(on the processor instead{name})"] = timed(
        lambda: make_rows(way.manifest, way.codec, way.pictures, way.features), count
    )
    folder = way.place / "written"
    folder.mkdir(exist_ok=True)
    parts_of = [rows] * -(-rows_of_segment(way.manifest) // count)
    parts_of = parts_of[: -(-SEGMENT_ROWS // count)]
    found[f"write{name}"] = timed(lambda: write_segment(folder, 1, way.manifest, parts_of), count * len(parts_of))


def fitted(identity: Identity, features: Features, found: dict[str, float]) -> Codec:
    """Fit the codec that an index of this network has by default."""
    spec = parse(default_codec(identity.family))
    assert spec is not None
    fitter = CodecFitter(spec, identity.channels, identity.pooled_dim)
    started = time.perf_counter()
    fitter.add(features.tokens, features.pooled)
    found["(sums that a codec is fitted on)"] = 1e3 * (time.perf_counter() - started) / len(features.tokens)
    started = time.perf_counter()
    codec = fitter.finish()
    found["(fit, once an index, in all)"] = 1e3 * (time.perf_counter() - started)
    return codec


def timed(run: Callable[[], object], count: int, device: str = "cpu", rounds: int = 5) -> float:
    """Return the median of the milliseconds for each of `count` pictures; the first round warms up."""
    taken = []
    for _ in range(rounds + 1):
        synchronise(device)
        started = time.perf_counter()
        run()
        synchronise(device)
        taken.append(time.perf_counter() - started)
    return 1e3 * statistics.median(taken[1:]) / count


def loading(backbone: TorchBackbone, folder: Path) -> dict[str, float]:
    """Return how many pictures a second are read, hashed, decoded and prepared on 1, 2, 4, ... threads."""
    loader = Loader(lambda: backbone, lambda _: False)
    files = [FoundImage(str(file), 1, 1) for file in sorted(folder.iterdir())]
    rated = {}
    threads = 1
    while threads <= usable_cores():
        seconds = []
        few = files[: min(len(files), 256 * threads)]
        for _ in range(3):
            with ThreadPoolExecutor(threads) as pool:
                started = time.perf_counter()
                for loaded in pool.map(loader.load, few):
                    assert loaded.pixels is not None
                seconds.append(time.perf_counter() - started)
        rated[str(threads)] = len(few) / statistics.median(seconds)
        threads *= 2
    return rated


class PretendedCard(Backbone, Feed):
    """Sleeps while its network would run, and gives noise.

    Parameters
    ----------
    like : TorchBackbone
    rate : float
        Pictures a second of its network.
    """

    feeds = True

    def __init__(self, like: TorchBackbone, rate: float, batch_size: int) -> None:
        width = LARGE["hidden_size"]
        self.spec, self._rate = like.spec, rate
        self.identity = replace(like.identity, channels=width, pooled_dim=width)
        self._busy = threading.Lock()
        positions = self.identity.grid[0] * self.identity.grid[1]
        noise = np.random.default_rng(0)
        self._tokens = noise.standard_normal((batch_size, positions, width)).astype(np.float32)
        self._pixels = np.zeros((*like.preprocessing.size, 3), np.float32).transpose(2, 0, 1)
        self._codes = noise.integers(-127, 128, (batch_size, positions, 128), np.int8)
        self._scales = np.ones((batch_size, positions), np.float32)
        self._buffers: queue.SimpleQueue[np.ndarray] = queue.SimpleQueue()
        for _ in range(LANES):
            self._buffers.put(np.empty((batch_size, *like.preprocessing.size, 3), np.float32))

    @contextmanager
    def streams(self, batch_size: int) -> Iterator[Streams]:
        """See `Backbone`."""
        yield Streams(LANES, batch_size, self)

    def prepare(self, image: Any) -> np.ndarray:
        """Sleep as long as that takes."""
        del image
        time.sleep(0.001)
        return self._pixels

    def embed(self, pictures: Any, shrink: Any = None) -> Any:
        """Gather the batch, and sleep."""
        buffer, count = self._buffers.get(), len(pictures)
        for picture, place in zip(pictures, buffer, strict=False):
            place[:] = picture.transpose(1, 2, 0)
        with self._busy:
            time.sleep(count / self._rate)
        self._buffers.put(buffer)
        pooled = self._tokens[:count, 0]
        if shrink is None:
            return Features(self._tokens[:count], pooled, self.identity.grid)
        made = {"tokens": self._codes[:count], "scales": self._scales[:count], "totals": np.ones(count)}
        return Shrunk({name: array.copy() for name, array in made.items()}, {}, pooled, self.identity.grid)


def pretended(like: TorchBackbone, folder: Path, place: Path) -> dict[str, float]:
    """Return the pictures a second that are indexed beside pretended cards, by the rates of these."""
    picture = Image.new("RGB", (640, 480))
    picture.info["original_size"] = picture.size

    def decode(data: bytes, *, reduce_to: Any) -> Image.Image:
        del data, reduce_to
        time.sleep(0.002)
        return picture

    found = {}
    files = sorted(folder.iterdir())
    for rate in (268, 1000, 1862):
        card = PretendedCard(like, rate, 64)
        options = SyncOptions(batch_size=64, workers=16, codec="pca128-int8", fit_from=64)
        with mock.patch("semret.index.sync.loading.decode_image", decode):
            sync(place / f"pretended-{rate}", files[:64], lambda c=card: c, options=options)
            started = time.perf_counter()
            sync(place / f"pretended-{rate}", files, lambda c=card: c, options=options)
        found[str(rate)] = (len(files) - 64) / (time.perf_counter() - started)
    return found


def as_markdown(found: dict[str, Any]) -> str:
    """Return all tables."""
    lines = [
        f"Card: {found['card']}; {as_sentence(found['conditions'])}; {found['usable_cores']} cores in use.",
        f"DINOv2-large with random weights at 224 px{', in miniature' if found['small'] else ''}; {found['images']} "
        f"photos of 640 x 480, batches of {found['batch_size']}; medians of {found['rounds']} rounds.",
        "",
        "| pictures a second | bare network | new index | added to an index | new, float16 tokens |",
        "|---|---|---|---|---|",
    ]
    for precision, rated in found["rates"].items():
        alone = rated["bare"]
        cells = [f"{rated[name]:.0f} ({rated[name] / alone:.2f})" for name in ("new index", "added", "float16 tokens")]
        lines.append(f"| {precision} | {alone:.0f} | {' | '.join(cells)} |")
    names = list(found["parts"])
    lines += ["", f"| milliseconds a picture | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    for part in found["parts"][names[0]]:
        cells = [f"{found['parts'][name][part]:.3f}" for name in names]
        lines.append(f"| {part} | {' | '.join(cells)} |")
    alone = found["loading"]["1"]
    lines += [
        "",
        "Read, hashed, decoded and prepared, pictures a second: "
        + ", ".join(f"{rate:.0f} on {threads} threads" for threads, rate in found["loading"].items())
        + f". At {alone:.0f} a core, {TARGET} a second take {TARGET / alone:.1f} cores.",
    ]
    lines.append(
        "Beside a pretended card, pictures a second: "
        + ", ".join(f"{rate:.0f} of {card}" for card, rate in found["pretended"].items())
        + "."
    )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
