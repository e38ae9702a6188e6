"""The network that full fine-tuning trains: a backbone, its mask, a new dense classifier."""

from __future__ import annotations

from dataclasses import dataclass, replace

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
        body: what the backbone's tensors are named behind, where the network is more than it.
    """

    module: nn.Module
    mask: Mask
    sparse: dict[nn.Parameter, Tensor]
    head: tuple[str, ...]
    masked: bool
    body: str = ""

    def dense_state(self) -> dict[str, Tensor]:
        """The ordinary state dict, whatever the module computes with."""
        convert = getattr(self.module, "to_state_dict", None)
        state: dict[str, Tensor] = convert() if convert else self.module.state_dict()
        return state

    def backbone_mask_hash(self) -> str:
        """Hash of the non-zeros that the backbone's weights have now."""
        kept = mask_of_arrays(self.dense_state(), self.mask)
        return mask_hash({name.removeprefix(self.body): one for name, one in kept.items()})

    def revived(self) -> int:
        """Weights outside the mask that are not zero: 0 after a correct training."""
        state = self.dense_state()
        return sum(
            int((state[name].detach().cpu()[~kept] != 0).sum()) for name, kept in self.mask.items()
        )

    def with_kernels(self, threads: int, precision: str = "fp32") -> Network:
        """The same network on the suite's own kernels, which compute with the non-zeros alone.

        Its parameters are only those, so any optimizer keeps the mask.

        Args:
            threads: to compute with.
            precision: ``fp32`` or ``bf16``, of what the gradients of the non-zeros multiply.

        Raises:
            SparsebenchError: no compiler, or layers that the kernels do not know, or bf16 where
                the processor has no instructions for it.
        """
        from sparsebench.exporters.kernels.training.module import sparsify_module

        kept = self.mask if self.sparse else {n: torch.ones_like(k) for n, k in self.mask.items()}
        module = sparsify_module(self.module, kept, threads=threads, precision=precision)
        return replace(self, module=module, sparse={}, masked=bool(self.sparse))


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
    mask = {n: k for n, k in backbone.mask.items() if n != f"{head}.weight"}
    names = (f"{head}.weight", f"{head}.bias")
    dense = backbone.card.family == "dense"
    return trainable(module, mask, names, dense=dense, device=device, channels_last=channels_last)


def trainable(
    module: nn.Module,
    mask: Mask,
    head: tuple[str, ...],
    *,
    dense: bool,
    device: str = "cpu",
    channels_last: bool = False,
    body: str = "",
) -> Network:
    """A network whose every weight inside a mask trains.

    Args:
        module: changed in place.
        mask: the backbone's non-zeros, by the module's parameter names.
        head: names of the new parameters.
        dense: whether the backbone is a dense one, whose odd zero is an accident of rounding and
            may move.
        device: ``cpu`` or ``cuda``.
        channels_last: memory format of weights and images.
        body: see :class:`Network`.
    """
    module.requires_grad_(True)
    module.to(device)
    if channels_last:
        module.to(memory_format=torch.channels_last)
    parameters = dict(module.named_parameters())
    sparse: dict[nn.Parameter, Tensor] = {}
    if not dense:
        sparse = {parameters[n]: k.to(device) for n, k in mask.items() if not bool(k.all())}
    return Network(module, mask, sparse, head, masked=bool(sparse), body=body)
