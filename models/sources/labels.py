"""How far what a file is called may be from the zeros that it holds."""

from __future__ import annotations

DENSE_AT_MOST = 0.20
"""Zeros, 0-1, of a file that may be called dense: dead filters and rounding to whole numbers leave
zeros that no pruning made; a fifth of all weights they are not."""
LABEL_OFF = 0.05
"""By so much a name's sparsity may differ from the file's: rounding, a layer counted or not."""
WORTH_SAYING = 0.01
"""Zeros, 0-1, of a dense file that are said."""
