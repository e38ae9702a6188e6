"""How planes are cut into tiles."""

from __future__ import annotations

import numpy as np
import pytest

from sparsebench.exporters.kernels.compiled.tiling import Axis, cut_plane, tile_shapes


@pytest.mark.parametrize(("height", "width", "blocks"), [(56, 56, 4), (7, 7, 1), (2, 2, 5)])
def test_tiles_cover_every_place_once_row_by_row(height: int, width: int, blocks: int) -> None:
    rows, columns = Axis(height, height, 1, (-1, 0, 1)), Axis(width, width, 1, (-1, 0, 1))
    cuts = cut_plane(rows, columns, blocks, 16)
    seen = np.zeros((blocks, height, width), np.int64)
    for cut in cuts:
        nb, r, c = tile_shapes()[cut.shape]
        assert nb * r * c <= 16
        seen[cut.block : cut.block + nb, cut.row : cut.row + r, cut.column : cut.column + c] += 1
    assert (seen == 1).all()
    # A plane is finished before the next begins, and a row of tiles before the one below it.
    places = [(cut.block, cut.row, cut.column) for cut in cuts]
    assert places == sorted(places)
