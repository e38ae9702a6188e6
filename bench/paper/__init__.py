"""The paper's tables again: from its own numbers, and from records beside them.

"How Well Do Sparse ImageNet Models Transfer?" (Iofinova, Peste, Kurtz, Alistarh, CVPR 2022).
"""

from sparsebench.bench.paper.ours import our_cells
from sparsebench.bench.paper.reproduction import Reproduction, reproduce
from sparsebench.bench.paper.transfer_cells import Cell, paper_cells

__all__ = ["Cell", "Reproduction", "our_cells", "paper_cells", "reproduce"]
