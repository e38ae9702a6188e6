"""The network that full fine-tuning trains: a backbone, its mask, a new dense classifier."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sparsebench.models.architectures import classifier_name, feature_dim
from sparsebench.models.masks import Mask, mask_hash, mask_of_arrays
from sparsebench.models.zoo.load import load_backbone


@dataclass(frozen=True, eq=False)
class Network:
    """A network with a new classifier.

    Attributes:
        module: float32 ``[N, 3, H, W]`` -> logits ``[N, classes]``.
        mask: the backbone's non-zeros, parameter name -> bool tensor; the classifier is not in it.
        sparse: parameter -> its mask, of those that have zeros.
        head: the classifier's parameter names.
        masked: whether the backbone has a mask to keep.
    """

    module: nn.Module
    mask: Mask
    sparse: dict[nn.Parameter, Tensor]
    head: tuple[str, ...]
    masked: bool

    def dense_state(self) -> dict[str, Tensor]:
        """The ordinary state dict, whatever the module computes with."""
        convert = getattr(self.module, "to_state_dict", None)
        state: dict[str, Tensor] = convert() if convert else self.module.state_dict()
        return state

    def backbone_mask_hash(self) -> str:
        """Hash of the non-zeros that the backbone's weights have now."""
        return mask_hash(mask_of_arrays(self.dense_state(), self.mask))

    def revived(self) -> int:
        """Weights outside the mask that are not zero: 0 after a correct training."""
        state = self.dense_state()
        return sum(
            int((state[name].detach().cpu()[~kept] != 0).sum()) for name, kept in self.mask.items()
        )

    def with_kernels(self, threads: int) -> Network:
        """The same network on the suite's own kernels, which compute with the non-zeros alone.

        Its parameters are only those, so any optimizer keeps the mask.

        Args:
            threads: to compute with.

        Raises:
            SparsebenchError: no compiler, or layers that the kernels do not know.
        """
        from sparsebench.exporters.kernels.training.module import sparsify_module

        kept = self.mask if self.sparse else {n: torch.ones_like(k) for n, k in self.mask.items()}
        module = sparsify_module(self.module, kept, threads=threads)
        return Network(module, self.mask, {}, self.head, masked=bool(self.sparse))


def load_network(
    name: str,
    classes: int,
    seed: int,
    *,
    device: str = "cpu",
    channels_last: bool = False,
) -> Network:
    """A backbone with fresh weights for `classes` classes in its classifier.

    Args:
        name: of the backbone.
        classes: number of outputs.
        seed: of the classifier's first weights (``torch.nn.Linear``'s usual ones).
        device: ``cpu`` or ``cuda``.
        channels_last: memory format of weights and images.

    Raises:
        SparsebenchError: the backbone cannot be had.
    """
    backbone = load_backbone(name)
    arch = backbone.card.arch
    head = classifier_name(arch)
    module = backbone.module
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = nn.Linear(feature_dim(arch), classes)
    parent, _, child = head.rpartition(".")
    setattr(module.get_submodule(parent), child, classifier)
    module.requires_grad_(True)
    module.to(device)
    if channels_last:
        module.to(memory_format=torch.channels_last)
    mask = {n: k for n, k in backbone.mask.items() if n != f"{head}.weight"}
    parameters = dict(module.named_parameters())
    # A dense backbone's odd zero is an accident of rounding, and may move.
    sparse: dict[nn.Parameter, Tensor] = {}
    if backbone.card.family != "dense":
        sparse = {parameters[n]: k.to(device) for n, k in mask.items() if not bool(k.all())}
    names = (f"{head}.weight", f"{head}.bias")
    return Network(module, mask, sparse, names, masked=bool(sparse))
