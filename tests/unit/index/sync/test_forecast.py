"""A dry run counts images as the run does."""

from semret.index.sync.estimate import estimate
from semret.index.sync.sync import sync


def test_files_known_to_be_no_pictures_are_no_images(tmp_path, photos, tiny_backbone):
    index = tmp_path / ".semret"
    (photos / "broken.jpg").write_bytes(b"no picture")
    (photos / "empty.png").touch()
    sync(index, [photos], tiny_backbone)
    found = estimate(index, [photos], tiny_backbone)
    assert (found.images, found.unchanged, len(found.skipped)) == (6, 6, 2)
    report = sync(index, [photos], tiny_backbone)
    assert (report.images, report.unchanged, len(report.skipped)) == (6, 6, 2)
