"""RigL's ResNet-50, converted from TensorFlow, as a bare state dict.

Tensors are named ``initial_conv.conv``, ``layer1.block.0.conv1.conv``, ``...shortcut.bn``;
the network pads its max pool like TensorFlow and was trained on images that were resized
bicubically: the architecture ``resnet50_rigl``. (Inside the common format, the same names
are read by ``sparse_transfer``.)
"""

from __future__ import annotations

from sparsebench.models.checkpoints import CheckpointFormat, LoadedCheckpoint
from sparsebench.models.checkpoints.containers import OpenedFile
from sparsebench.models.checkpoints.layouts import in_our_layout
from sparsebench.models.checkpoints.sparse_transfer import unwrapped


def _recognises(opened: OpenedFile) -> bool:
    return any(n.replace("._layer", "") == "initial_conv.conv.weight" for n in opened.tensors)


def _load(opened: OpenedFile) -> LoadedCheckpoint:
    tensors = unwrapped(opened.path, opened.chosen.tensors)
    tensors, arch = in_our_layout(tensors)
    return LoadedCheckpoint(tensors, {"arch": arch} if arch else {}, RIGL.name)


RIGL = CheckpointFormat("rigl", "RigL's ResNet-50, converted from TensorFlow", _recognises, _load)
