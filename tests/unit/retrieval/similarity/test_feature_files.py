"""Feature files as they come, and as somebody may have planted them."""

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from semret import arrays, rsm
from semret.errors import ArgumentError, ShapeError
from semret.retrieval.similarity.feature_files import open_features, read_matrix

TOKENS = np.random.default_rng(5).standard_normal((4, 3, 2)).astype(np.float32)


def read(file, key=None):
    with open_features(file, key) as data:
        return np.asarray(data[0 : data.shape[0]])


def head(shape, descr="<f4", version=1):
    text = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode().ljust(117) + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + len(text).to_bytes(2 if version == 1 else 4, "little") + text


def refused(file, match, key=None):
    with pytest.raises(ArgumentError, match=match) as caught:
        read(file, key)
    assert len(str(caught.value)) < 600 + len(str(file))


def test_data_that_lie_in_another_file_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("secret").write_bytes(b"a secret of the user's: 24.")
    with h5py.File("external.h5", "w") as file:
        file.create_dataset("x", (4, 3, 2), dtype="u1", external=[("secret", 0, 24)])
    with h5py.File("other.h5", "w") as file:
        file["x"] = TOKENS
    layout = h5py.VirtualLayout(TOKENS.shape, "f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", TOKENS.shape)
    with h5py.File("virtual.h5", "w") as file:
        file.create_virtual_dataset("x", layout)
        file["deep/y"] = TOKENS
        file["outside"] = h5py.ExternalLink("other.h5", "x")
        file["round"] = h5py.SoftLink("/outside")
    refused("external.h5", "takes its data from another file")
    refused("virtual.h5", "takes its data from another file", "x")
    refused("virtual.h5", "is a link to another file", "outside")
    refused("virtual.h5", "is a link to another file", "round")
    np.testing.assert_array_equal(read("virtual.h5", "deep/y"), TOKENS)


def test_links_within_a_file_are_followed(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["runs/2024/x"] = TOKENS
        file["y"] = TOKENS + 1
        file["latest"] = h5py.SoftLink("/runs/2024")
        file["runs/near"] = h5py.SoftLink("2024/x")
        file["a"], file["b"] = h5py.SoftLink("/b"), h5py.SoftLink("/a")
        file["gone"] = h5py.SoftLink("/nowhere")
    for key in ("runs/2024/x", "/latest/x", "latest", "runs/near"):
        np.testing.assert_array_equal(read(tmp_path / "a.h5", key), TOKENS)
    refused(tmp_path / "a.h5", "lead in a circle", "a")
    refused(tmp_path / "a.h5", "has no array 'gone', it holds", "gone")


def test_null_ragged_and_structured_data_sets_are_named(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["null"] = h5py.Empty("f4")
        file.create_dataset("ragged", (3,), dtype=h5py.vlen_dtype(np.float32))
        file["words"] = np.zeros(3, dtype=[("a" * 200, "f4")])
        file["scalar"] = 1.0
    refused(tmp_path / "a.h5", "is a null data set", "null")
    refused(tmp_path / "a.h5", "lists of different lengths", "ragged")
    refused(tmp_path / "a.h5", "expected numbers", "words")
    with open_features(tmp_path / "a.h5", "scalar") as data, pytest.raises(ShapeError, match="expects 3 axes"):
        rsm(data)


def test_many_arrays_are_not_all_named(tmp_path):
    with h5py.File(tmp_path / "many.h5", "w") as file:
        for number in range(500):
            file[f"image-{number:03d}.jpg"] = np.ones((3, 2), "f4")
    refused(tmp_path / "many.h5", r"holds 500 arrays \(image-000\.jpg, .*and 496 more\)")
    refused(tmp_path / "many.h5", "did you mean image-007.jpg", "image-007.jp")


def test_an_unknown_filter_loads_nothing(tmp_path):
    """A plug-in of HDF5 is code; a file may not have it loaded, whatever the environment offers."""
    space = h5py.h5s.create_simple((4, 3, 2))
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((1, 3, 2))
    plist.set_filter(40123, h5py.h5z.FLAG_OPTIONAL, (1, 2))
    with h5py.File(tmp_path / "plug.h5", "w") as file:
        data = h5py.h5d.create(file.id, b"x", h5py.h5t.NATIVE_FLOAT, space, plist)
        data.write_direct_chunk((0, 0, 0), TOKENS[0].tobytes())
    trap = tmp_path / "trap.c"
    sprung = tmp_path / "sprung"
    trap.write_text(
        f'#include <stdio.h>\n__attribute__((constructor)) static void go(void) {{ fclose(fopen("{sprung}", "w")); }}\n'
    )
    (tmp_path / "plugins").mkdir()
    compiler = ["cc", "-shared", "-fPIC", "-o", str(tmp_path / "plugins" / "libtrap.so"), str(trap)]
    try:
        subprocess.run(compiler, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs a C compiler")
    environment = {**os.environ, "HDF5_PLUGIN_PATH": str(tmp_path / "plugins")}
    files = [str(tmp_path / "plug.h5"), "-o", str(tmp_path / "k.npy")]
    done = subprocess.run(
        [sys.executable, "-m", "semret", "rsm", *files], env=environment, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 1
    assert "the filter 40123, which HDF5 would load as a plug-in" in done.stderr
    assert not sprung.exists()
    reading = f"import h5py; h5py.File({str(tmp_path / 'plug.h5')!r})['x'][:]"
    subprocess.run([sys.executable, "-c", reading], env=environment, capture_output=True, timeout=100)
    assert sprung.exists(), "the trap must be able to spring"


def test_filters_that_come_with_the_library_are_read(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, options in {"gzip": {"compression": "gzip", "shuffle": True}, "lzf": {"compression": "lzf"}}.items():
            file.create_dataset(name, data=TOKENS, fletcher32=True, **options)
    for key in ("gzip", "lzf"):
        np.testing.assert_array_equal(read(tmp_path / "a.h5", key), TOKENS)


def test_a_piece_that_inflates_beyond_its_size_is_refused(tmp_path):
    import zlib

    with h5py.File(tmp_path / "bomb.h5", "w") as file:
        data = file.create_dataset("x", (1, 1024, 512), chunks=(1, 1024, 512), dtype="f4", compression="gzip")
        packer = zlib.compressobj()
        packed = b"".join(packer.compress(bytes(1 << 22)) for _ in range(300)) + packer.flush()
        data.id.write_direct_chunk((0, 0, 0), packed)
    assert len(packed) > 1 << 20
    refused(tmp_path / "bomb.h5", "grows beyond the 2097152 bytes")


def test_sets_too_large_for_this_machine_are_refused_before_memory_is_asked_for(tmp_path):
    with h5py.File(tmp_path / "large.h5", "w") as file:
        file.create_dataset("image", (2, 2**38, 2), dtype="f4", chunks=(1, 16, 2))
        file.create_dataset("rows", (2**38, 1, 1), dtype="f4", chunks=(16, 1, 1))
        file.create_dataset("matrix", (2**20, 2**20), dtype="f8", chunks=(16, 16))
    refused(tmp_path / "large.h5", "takes 2048 GiB of memory", "image")
    with pytest.raises(ArgumentError, match=r"the matrix in .* takes 8192 GiB"):
        read_matrix(tmp_path / "large.h5", "matrix")
    with (
        open_features(tmp_path / "large.h5", "rows") as data,
        pytest.raises(ArgumentError, match="the matrix of simil"),
    ):
        rsm(data)


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_archives_that_lie_are_refused(tmp_path, packing):
    contents = {
        "long": (head((2**38, 2, 2)) + bytes(64), "says it has shape"),
        "short": (head((2, 2)) + bytes(64), "goes on after its 16 bytes"),
        "overflow": (head((2**62, 2**62)) + bytes(64), "says it has shape"),
        "negative": (head((-1, 2)) + bytes(64), "it is damaged"),
        "objects": (head((2,), "|O") + bytes(64), "expected numbers"),
        "structured": (head((2,), [("a", "<f4")]) + bytes(64), "expected numbers"),
        "header": (b"\x93NUMPY\x02\0" + (2**31).to_bytes(4, "little") + bytes(64), "it is damaged"),
        "nothing": (b"", "it is damaged"),
    }
    for name, (content, match) in contents.items():
        with zipfile.ZipFile(tmp_path / f"{name}.npz", "w", packing) as archive:
            archive.writestr("x.npy", content)
        refused(tmp_path / f"{name}.npz", match)
        if name != "short":
            (tmp_path / f"{name}.npy").write_bytes(content)
            refused(tmp_path / f"{name}.npy", match)


def test_an_archive_bomb_is_refused_before_memory_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "_memory", lambda: 2.0**20)
    np.savez_compressed(tmp_path / "bomb.npz", x=np.zeros((4, 2**20)))
    refused(tmp_path / "bomb.npz", "GiB of memory, and this machine has")


def test_a_directory_that_claims_gigabytes_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", x=TOKENS)
    content = bytearray((tmp_path / "a.npz").read_bytes())
    end = content.rindex(b"PK\5\6")
    content[end + 12 : end + 16] = (2**31).to_bytes(4, "little")
    content[end + 16 : end + 20] = (0).to_bytes(4, "little")
    with (tmp_path / "a.npz").open("wb") as stream:
        stream.truncate(2**31 + 2**20)
        stream.seek(2**31 + 2**20)
        stream.write(content[end:])
    refused(tmp_path / "a.npz", "it is damaged")


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", ">f8", "<i8", "|b1", "|u1"])
def test_arrays_of_any_order_and_type_are_read(tmp_path, dtype, order):
    values = np.asarray(TOKENS > 0 if dtype == "|b1" else np.abs(TOKENS) * 9, dtype=dtype, order=order)
    np.save(tmp_path / "a.npy", values)
    np.savez_compressed(tmp_path / "a.npz", a=values)
    np.savez(tmp_path / "b.npz", a=values, b=np.zeros((0, 3, 2)), c=np.float32(3))
    for name, key in (("a.npy", None), ("a.npz", None), ("b.npz", "a")):
        np.testing.assert_array_equal(read(tmp_path / name, key), values)
        with open_features(tmp_path / name, key) as data:
            np.testing.assert_array_equal(rsm(data), rsm(values.astype(values.dtype.newbyteorder("="))))
    with open_features(tmp_path / "b.npz", "b") as data:
        assert rsm(data).shape == (0, 0)
    assert read_matrix(tmp_path / "b.npz", "c").shape == ()
    np.save(tmp_path / "empty.npy", np.zeros((0, 3, 2)))
    assert read(tmp_path / "empty.npy").shape == (0, 3, 2)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5"])
def test_what_is_no_file_is_refused_at_once(tmp_path, suffix):
    os.mkfifo(tmp_path / f"pipe{suffix}")
    (tmp_path / f"device{suffix}").symlink_to("/dev/zero")
    (tmp_path / f"folder{suffix}").mkdir()
    with (tmp_path / f"sparse{suffix}").open("wb") as stream:
        stream.truncate(20 << 30)
    refused(tmp_path / f"pipe{suffix}", "is a named pipe")
    refused(tmp_path / f"device{suffix}", "is a device")
    refused(tmp_path / f"folder{suffix}", "is a folder")
    refused(tmp_path / f"sparse{suffix}", "damaged or of another format|it is damaged")


def test_an_encrypted_or_exotic_archive_is_refused(tmp_path):
    content = io.BytesIO()
    np.save(content, TOKENS)
    with zipfile.ZipFile(tmp_path / "bz.npz", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("x.npy", content.getvalue())
    refused(tmp_path / "bz.npz", "compressed in a way that numpy")
    with zipfile.ZipFile(tmp_path / "key.npz", "w") as archive:
        archive.writestr("x.npy", content.getvalue())
    raw = bytearray((tmp_path / "key.npz").read_bytes())
    raw[6] |= 1
    raw[raw.rindex(b"PK\1\2") + 8] |= 1
    (tmp_path / "key.npz").write_bytes(raw)
    refused(tmp_path / "key.npz", "it is damaged")


@pytest.mark.parametrize("keypoints", [True, False])
@pytest.mark.parametrize("transposed", [True, False])
def test_one_group_an_image_is_one_set(tmp_path, keypoints, transposed):
    """As tools for local features write it: descriptors (C, N) beside keypoints (N, 2); some write (N, C)."""
    maps = [np.random.default_rng(i).standard_normal((count, 8)).astype("f2") for i, count in enumerate((3, 5, 5, 4))]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for number, one in enumerate(maps):
            group = file.create_group(f"room/{number}.jpg")
            group["descriptors"] = one.T if transposed else one
            if keypoints:
                group["keypoints"] = np.zeros((len(one), 2))
                group["scores"] = np.zeros(len(one))
    with open_features(tmp_path / "a.h5") as data:
        assert data.shape == (4, 5, 8)
        assert data.positions.tolist() == [3, 5, 5, 4]
        found = rsm(data, center="channel")
    mean = np.concatenate(maps).astype(float).mean(axis=0)
    expected = [[rsm(a[None], b[None], center=mean)[0, 0] for b in maps] for a in maps]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    with open_features(tmp_path / "a.h5", "room") as data:
        np.testing.assert_array_equal(rsm(data, tile_bytes=1, center="channel"), found)
        for options in ({"center": "position"}, {"invariance": "none"}):
            with pytest.raises(ShapeError, match=r"different sizes|positions"):
                rsm(data, **options)
        with pytest.raises(ArgumentError, match="expected layout NSC"):
            rsm(data, layout="NTD")
    with pytest.raises(ArgumentError, match="expected one matrix"):
        read_matrix(tmp_path / "a.h5")


def test_images_of_one_size_are_read_as_the_tools_write_them(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for number in range(4):
            file[f"{number}.jpg/descriptors"] = np.full((2, 3), number, "f2")
    assert read(tmp_path / "a.h5").shape == (4, 3, 2)


def test_groups_that_do_not_fit_each_other_are_named(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["0.jpg/descriptors"], file["1.jpg/descriptors"] = np.ones((4, 3)), np.ones((5, 2))
    refused(tmp_path / "a.h5", "descriptors of 4 to 5 channels")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["0.jpg/descriptors"], file["1.jpg/descriptors"] = np.ones((4, 3)), np.ones((4, 0))
    refused(tmp_path / "b.h5", "1.jpg/descriptors holds no descriptor")
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file["0.jpg/descriptors"], file["1.jpg/descriptors"] = np.ones((4, 3)), np.ones(4)
    refused(tmp_path / "c.h5", "expected two axes")
