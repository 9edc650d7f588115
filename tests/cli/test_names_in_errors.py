"""A file's name in an error is the file's name: it can be copied from there."""

from semret.cli import app
from semret.names import unescaped
from tests.support.commands import invoke


def test_white_space_of_a_name_is_not_lost(tiny_index, tmp_path):
    path = tmp_path / "two  spaces\nand a line.jpg"
    path.write_bytes(b"no picture")
    result = invoke(app, "query", path, "--index", tiny_index)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert r"two  spaces\nand a line.jpg: is no picture" in line
    assert str(path) in unescaped(line)
