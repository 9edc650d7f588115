"""``semret index``, ``info``, ``remove``, ``compact``, ``export`` and ``import``, as a user meets them."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import tarfile

import pytest

from semret.cli import app
from semret.commands import index as index_commands
from semret.commands.output import duration
from semret.names import readable
from tests.support.commands import error_of, invoke
from tests.support.pictures import draw_into
from tests.support.places import with_root
from tests.support.processes import command_of

REGISTERED = {command.name for command in app.registered_commands}


@pytest.fixture
def semret(tmp_path, monkeypatch, tiny_backbone):
    """Run a command in `tmp_path` with the tiny backbone for a model; returns click's result."""
    from semret.index.backbones import registry

    def create(name, **options):
        assert name in ("efficientnet-lite0", "tiny")
        return tiny_backbone()

    monkeypatch.setattr(registry, "create_backbone", create)
    monkeypatch.delenv("SEMRET_INDEX", raising=False)
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: invoke(app, *arguments)


def test_index_reports_what_it_did(semret, photos):
    (photos / "bro\nken.jpg").write_bytes(b"no picture")
    done = semret("index", "photos")
    assert done.exit_code == 0, done.output
    first, second = done.stdout.splitlines()
    assert first.endswith(".semret: 6 added, 0 updated, 0 renamed, 0 removed, 0 unchanged, 1 skipped")
    assert second.startswith("6 embedded in ")
    assert "images/s); " in second
    assert second.endswith(" per image")
    assert done.stderr.startswith("semret: skipped ")
    assert "bro\\nken.jpg: is no picture in a supported format" in done.stderr


def test_index_as_json(semret, photos, tmp_path):
    report = json.loads(semret("index", photos, "--format", "json").stdout)
    assert report["index"] == str(tmp_path / ".semret")
    assert (report["model"], report["images"], report["added"], report["skipped"]) == ("tiny", 6, 6, [])
    again = json.loads(semret("index", photos, "--format", "json").stdout)
    assert (again["added"], again["unchanged"], again["embedded"]) == (0, 6, 0)
    assert again["bytes_per_image"] == again["bytes"] / 6


def test_strict_makes_a_skip_a_failure(semret, photos):
    assert semret("index", "photos", "--strict").exit_code == 0
    (photos / "broken.jpg").write_bytes(b"no picture")
    done = semret("index", "photos", "--strict", "--format", "json")
    assert done.exit_code == 1
    assert len(json.loads(done.stdout)["skipped"]) == 1


def test_dry_run_writes_nothing(semret, photos, tmp_path):
    done = semret("index", "photos", "--dry-run")
    assert done.exit_code == 0
    assert done.stdout.startswith(f"6 images, 6 to embed, into {tmp_path / '.semret'}\n")
    assert "nothing was written" in done.stdout
    assert not (tmp_path / ".semret").exists()
    found = json.loads(semret("index", "photos", "--dry-run", "--format", "json").stdout)
    assert (found["images"], found["to_embed"], found["measured"]) == (6, 6, 6)
    assert found["bytes"] == 6 * found["bytes_per_image"] > 0
    assert found["seconds"] > 0


def test_a_dry_run_tells_changes(semret, photos):
    semret("index", "photos")
    (photos / "0.png").unlink()
    (photos / "film.mov").write_bytes(b"x")
    (photos / "broken.jpg").write_bytes(b"no picture")
    done = semret("index", "photos", "--dry-run")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[1:] == [
        "0 added, 0 updated, 0 renamed, 1 removed, 5 unchanged, 1 skipped; not read: 1 video; nothing was written"
    ]
    assert "broken.jpg: is no picture" in done.stderr


def test_a_folder_that_is_away_is_kept_and_named(semret, photos, tmp_path):
    (tmp_path / "lib").mkdir()
    photos.rename(tmp_path / "lib" / "nas")
    shutil.copy(tmp_path / "lib" / "nas" / "0.png", tmp_path / "lib" / "here.png")
    semret("index", "lib")
    (tmp_path / "lib" / "nas").rename(tmp_path / "away")
    done = semret("index", "lib", "--strict")
    assert done.exit_code == 0, done.output
    nas = tmp_path / "lib" / "nas"
    assert done.stderr == f"semret: kept 6 images of {nas}, which is missing or empty; --prune removes what is kept\n"
    assert done.stdout.splitlines()[0].endswith(
        ": 0 added, 0 updated, 0 renamed, 0 removed, 1 unchanged, 6 kept, 0 skipped"
    )
    dry = semret("index", "lib", "--dry-run", "--prune", "--format", "json")
    assert (json.loads(dry.stdout)["removed"], json.loads(dry.stdout)["kept"]) == (6, 0)
    report = json.loads(semret("index", "lib", "--prune", "--format", "json").stdout)
    assert (report["removed"], report["kept"], report["kept_in"], report["images"]) == (6, 0, [], 1)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["index", "nowhere"], "there is no file or folder"),
        (["index", "empty"], "there is no picture in"),
        (["index", "photos", "--model", "dinov2-gaint"], "unknown backbone 'dinov2-gaint'; did you mean"),
        (["info"], "there is no .semret in"),
        (["info", "--index", "photos"], "photos is no index, and no .semret in"),
        (["remove", "photos"], "there is no .semret in"),
        (["compact"], "there is no .semret in"),
        (["export", "x.tar"], "there is no .semret in"),
        (["import", "nowhere.tar"], "there is no file"),
        (["import", "photos/0.png"], "is no export of semret, or damaged"),
    ],
)
def test_known_errors_are_one_line(arguments, complaint, semret, photos, tmp_path):
    (tmp_path / "empty").mkdir()
    assert complaint in error_of(semret(*arguments))
    assert not (tmp_path / ".semret").exists()


@pytest.mark.parametrize(
    "arguments",
    [["index"], ["index", "photos", "--size", "big"], ["index", "photos", "--batch-size", "0"], ["remove"]],
)
def test_wrong_usage_exits_with_2(arguments, semret, photos):
    assert semret(*arguments).exit_code == 2


@pytest.mark.parametrize("damage", ["manifest.json", "catalog.sqlite", "catalog.sha256", "segments/000001.h5"])
def test_a_damaged_index_is_one_line_for_every_command(damage, semret, photos, tmp_path):
    semret("index", "photos")
    path = tmp_path / ".semret" / damage
    raw = path.read_bytes()
    path.write_bytes(raw[:50] + bytes([raw[50] ^ 0xFF]) + raw[51:] if damage != "segments/000001.h5" else raw[:5000])
    commands = [["info"], ["index", "photos"], ["remove", "photos"], ["compact"], ["export", "x.tar"]]
    outcomes = [semret(*command) for command in commands]
    for outcome in outcomes:
        assert outcome.exit_code in (0, 1)
        assert "Traceback" not in outcome.output
    if damage != "segments/000001.h5":
        assert all("damaged" in error_of(outcome) for outcome in outcomes)


def test_info_describes_the_index(semret, photos, tmp_path):
    shutil.copy(photos / "1.png", photos / "copy.png")
    semret("index", "photos")
    text = semret("info").stdout
    assert "7 (6 different), 0 files skipped" in text
    assert "9 tokens (3 x 3) of 12 channels, float16; pooled 12" in text
    found = json.loads(semret("info", "--format", "json").stdout)
    assert (found["images"], found["contents"], found["segments"], found["rows"], found["dead_rows"]) == (7, 6, 1, 6, 0)
    assert (found["model"], found["dtype"], found["grid"], found["root"]) == ("tiny", "float16", [3, 3], str(tmp_path))


def test_remove_and_compact(semret, photos):
    semret("index", "photos")
    assert semret("remove", "photos/1.png").stdout.startswith("1 removed, 5 images left in ")
    report = json.loads(semret("compact", "--format", "json").stdout)
    assert (report["segments_before"], report["segments"], report["dropped"]) == (1, 1, 1)
    assert semret("compact").stdout.startswith("1 segment became 1, 0 rows dropped, ")


def test_remove_finds_the_index_above_the_picture(semret, photos, tmp_path, monkeypatch):
    semret("index", "photos")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert semret("remove", photos / "1.png").stdout.startswith("1 removed, 5 images left in ")


def test_an_exported_index_is_the_same_elsewhere(semret, photos, tmp_path, index_contents):
    semret("index", "photos")
    done = semret("export", "index.tar")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(str(tmp_path / "index.tar"))
    assert not list(tmp_path.glob("*.tmp"))
    shutil.copytree(photos, tmp_path / "there" / "photos", copy_function=shutil.copy2)
    made = semret("import", "index.tar", "--index", "there/.semret")
    assert made.exit_code == 0, made.output
    there = index_contents(tmp_path / "there" / ".semret")
    here = index_contents(tmp_path / ".semret")
    assert {path.replace("/there/", "/"): entry for path, entry in there.items()} == here
    other = semret("import", "index.tar", "--index", "far/.semret", "--root", "there")
    assert other.exit_code == 0, other.output
    assert index_contents(tmp_path / "far" / ".semret") == there
    assert "exists; import into a directory that does not" in error_of(semret("import", "index.tar"))


def archive(path, members):
    with tarfile.open(path, "w") as tar:
        for member, data in members:
            info = member if isinstance(member, tarfile.TarInfo) else tarfile.TarInfo(member)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def link(name, target, kind):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    "member",
    [
        "../evil",
        "/tmp/evil",
        "segments/../../evil",
        "segments/000001.h5/x",
        "other",
        "./manifest.json",
        link("manifest.json", "/etc/passwd", tarfile.SYMTYPE),
        link("catalog.sqlite", "manifest.json", tarfile.LNKTYPE),
        link("segments", "", tarfile.DIRTYPE),
        link("lock", "", tarfile.FIFOTYPE),
    ],
    ids=lambda member: f"{member.name} as a link or pipe" if isinstance(member, tarfile.TarInfo) else member,
)
def test_a_crafted_archive_writes_nothing(member, semret, tmp_path):
    archive(tmp_path / "evil.tar", [(member, b"")])
    before = sorted(tmp_path.rglob("*"))
    assert "is no export of semret, or damaged (it holds " in error_of(semret("import", "evil.tar"))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_damaged_export_makes_nothing(semret, photos, tmp_path):
    semret("index", "photos")
    semret("export", "index.tar")
    raw = (tmp_path / "index.tar").read_bytes()
    shutil.rmtree(tmp_path / ".semret")
    before = sorted(tmp_path.rglob("*"))
    step = len(raw) // 40
    refused = 0
    for position in range(700, len(raw) - 1024, step):
        (tmp_path / "index.tar").write_bytes(raw[:position] + bytes([raw[position] ^ 0x55]) + raw[position + 1 :])
        done = semret("import", "index.tar")
        if done.exit_code == 0:
            # Between the members, or in what tar itself does not look at: the index is whole then.
            shutil.rmtree(tmp_path / ".semret")
        else:
            refused += 1
            error_of(done)
        assert sorted(tmp_path.rglob("*")) == before
    assert refused > 25
    for length in range(0, len(raw) - 10240, step):
        (tmp_path / "index.tar").write_bytes(raw[:length])
        error_of(semret("import", "index.tar"))
        assert sorted(tmp_path.rglob("*")) == before


def test_sizes_and_times_are_readable():
    assert [readable(size) for size in (0, 999, 1000, 1.44e6, 7e9, 7e12)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "1.4 MB",
        "7.0 GB",
        "7.0 TB",
    ]
    assert [duration(time_) for time_ in (0.04, 12.4, 300, 7200)] == ["0.0 s", "12 s", "5 min", "2.0 h"]


def index_slowly(folder, seconds):
    """Start indexing with a pass that takes some time, and return the process once the first has begun."""
    words = ["index", "photos", "--batch-size", "1", "--workers", "1"]
    process = subprocess.Popen(
        [*command_of("cli_driver"), "0", str(seconds), *words],
        cwd=folder,
        env=with_root(os.environ | {"SEMRET_TESTS_TELL": "1"}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "embedding\n"
    return process


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_a_second_interrupt_does_not_wait_for_the_pass_under_way(photos, tmp_path, semret):
    process = index_slowly(tmp_path, 30)
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline().startswith("semret: finishing what was begun")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "embedded" not in out
    assert "Traceback" not in err
    report = json.loads(semret("index", "photos", "--format", "json").stdout)
    assert (report["images"], report["added"]) == (6, 6)


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_an_interrupt_finishes_the_commit_and_exits_with_130(photos, tmp_path, semret):
    draw_into(photos, range(6, 60))  # So many that the signal comes before the last, whatever else runs here.
    process = index_slowly(tmp_path, 0.2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "finishing what was begun" in err
    assert "interrupted; what is done is kept, run the same command again to continue" in err
    assert "Traceback" not in err
    done = int(out.splitlines()[-2].split()[0])
    assert 1 <= done < 60
    report = json.loads(semret("index", "photos", "--format", "json").stdout)
    assert (report["images"], report["added"], report["unchanged"]) == (60, 60 - done, done)


def test_the_commands_of_this_file_are_registered_once():
    import typer

    from semret.commands import maintain

    alone = typer.Typer()
    index_commands.register(alone)
    maintain.register(alone)
    names = [command.name for command in alone.registered_commands]
    assert names == ["index", "info", "remove", "compact", "export", "import"]
    assert set(names) <= REGISTERED


def test_what_is_excluded_is_counted_shown_and_forgotten(semret, photos):
    (photos / "raw").mkdir()
    shutil.copy(photos / "0.png", photos / "raw" / "copy.png")
    done = semret("index", "photos", "--exclude", "raw/", "--exclude", "5.png")
    assert done.stdout.splitlines()[0].endswith(
        "5 added, 0 updated, 0 renamed, 0 removed, 0 unchanged, 0 skipped; excluded: 1 file, 1 folder"
    )
    assert re.search(r"^excluded +raw/  5\.png$", semret("info").stdout, re.MULTILINE)
    assert json.loads(semret("info", "--format", "json").stdout)["excluded"] == ["raw/", "5.png"]
    more = semret("index", "photos", "--exclude", "/4.png", "--format", "jsonl")
    assert more.stdout.count("\n") == 1
    report = json.loads(more.stdout)
    patterns = ["raw/", "5.png", "photos/4.png"]
    assert report["excluded"] == {"patterns": patterns, "files": 2, "folders": 1, "images": 1}
    dry = semret("index", "photos", "--no-exclude", "--dry-run")
    assert "3 added" in dry.stdout
    back = semret("index", "photos", "--no-exclude", "--exclude", "0.png")
    assert "3 added, 0 updated, 0 renamed, 1 removed" in back.stdout
    assert back.stderr.startswith("semret: removed because they are excluded now: 1 image; after a run with --no-excl")
    assert error_of(semret("index", "photos", "--exclude", "[")).startswith(
        "semret: '[' matches nothing; give a pattern"
    )
