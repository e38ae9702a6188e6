"""Labels keep clear of points and of each other."""

from __future__ import annotations

import numpy as np

from sparsebench.bench.present.plots.labels import Box, place


def overlap(a: Box, b: Box) -> float:
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))


def test_labels_keep_clear_of_points_and_each_other() -> None:
    rng = np.random.default_rng(0)
    points = [(float(x), float(y)) for x, y in rng.uniform(40, 260, (14, 2))]
    points += [(150.0, 150.0), (153.0, 152.0), (149.0, 147.0)]  # a crowd
    sizes = [(30.0, 9.0)] * len(points)
    marks = [(x - 4, y - 4, x + 4, y + 4) for x, y in points]
    placed = place(points, sizes, marks, (0, 0, 300, 300))
    boxes = [(p.x - 15, p.y - 4.5, p.x + 15, p.y + 4.5) for p in placed]
    for index, box in enumerate(boxes):
        assert all(overlap(box, mark) == 0 for mark in marks)
        assert all(overlap(box, other) == 0 for other in boxes[:index])
        assert box[0] >= 0 and box[1] >= 0 and box[2] <= 300 and box[3] <= 300


def test_lone_label_stays_at_its_point() -> None:
    (spot,) = place([(100, 100)], [(30, 9)], [(96, 96, 104, 104)], (0, 0, 200, 200))
    assert not spot.leader
    assert np.hypot(spot.x - 100, spot.y - 100) < 30
