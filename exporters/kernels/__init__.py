"""Sparse compute of our own: convolutions whose zeros cost nothing, for a mask that is fixed.

``sparsify_module`` turns a masked network into one whose parameters are only the
non-zeros; the C++ behind it is compiled when it is first needed.
"""

from __future__ import annotations
