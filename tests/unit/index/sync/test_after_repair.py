"""What a run says of pictures whose features a repair had to drop: they come back, and nothing was renamed."""

from __future__ import annotations

import shutil

from semret.index.care.repair import repair
from semret.index.sync.estimate import estimate
from semret.index.sync.sync import sync


def test_pictures_that_come_back_after_a_repair_are_added(tiny_index, photos, tiny_backbone):
    (tiny_index / "segments" / "000001.h5").unlink()
    assert repair(tiny_index)[1].sound
    forecast = estimate(tiny_index, [photos], tiny_backbone)
    report = sync(tiny_index, [photos], tiny_backbone)
    assert (report.added, report.renamed, report.embedded, report.images) == (6, 0, 6, 6)
    assert (forecast.added, forecast.renamed) == (6, 0)


def test_copies_of_one_content_come_back_each_as_added(tiny_index, photos, tiny_backbone):
    shutil.copy(photos / "0.png", photos / "copy.png")
    assert sync(tiny_index, [photos], tiny_backbone).added == 1
    (tiny_index / "segments" / "000001.h5").unlink()
    assert repair(tiny_index)[1].sound
    report = sync(tiny_index, [photos], tiny_backbone)
    assert (report.added, report.renamed, report.embedded, report.images) == (7, 0, 6, 7)


def test_a_file_that_was_renamed_is_renamed_whatever_was_repaired(tiny_index, photos, tiny_backbone):
    assert repair(tiny_index)[0] == []
    (photos / "0.png").rename(photos / "other.png")
    report = sync(tiny_index, [photos], tiny_backbone)
    assert (report.added, report.renamed, report.embedded, report.images) == (0, 1, 0, 6)
