"""Any classification network of timm or torchvision, by its library's name for it.

``timm:convnext_atto`` is what ``timm.create_model("convnext_atto")`` builds; its classifier's name
and preprocessing are timm's own data. What such a network is worth here needs one linear
classifier on pooled features, as heads are trained on those.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from sparsebench.models.architectures import LIBRARIES, ArchitectureSpec, TorchvisionWeights
from sparsebench.models.architectures.without_compiler import timm_library, torchvision_models
from sparsebench.models.cards import INTERPOLATIONS, Preprocessing
from sparsebench.models.errors import SparsebenchError, UnknownNameError

if TYPE_CHECKING:
    from torch import nn

# torchvision's attention keeps weights beside its layers, where neither pruning nor a mask's
# proof finds them; timm has the same networks with linear layers.
_HIDDEN_WEIGHTS = ("MultiheadAttention", "ShiftedWindowAttention", "ShiftedWindowAttentionV2",
                   "RelativePositionalMultiHeadAttention")  # fmt: skip
_OTHER = "Any other network runs as its ONNX file: torch.onnx.export, then name the .onnx."


def libraries_with(entry: str) -> list[str]:
    """The names under which the libraries have a network: ``resnet18`` is known to both."""
    known = {"timm": timm_library().list_models(), "torchvision": _classifiers()}
    plain = entry.partition(".")[0]  # timm's names may carry those of weights: resnet50.a1_in1k
    return [f"{library}:{entry}" for library in LIBRARIES if plain in known[library]]


def _classifiers() -> list[str]:
    """torchvision's names without those of detection, segmentation and video."""
    models = torchvision_models()
    names: list[str] = models.list_models()
    return [n for n in names if hasattr(models, n) and not n.startswith("quantized")]


@lru_cache(maxsize=256)
def library_spec(arch: str) -> ArchitectureSpec:
    """What the suite must know of a library's network; only shapes are computed for that.

    Args:
        arch: ``timm:NAME`` or ``torchvision:NAME``.

    Raises:
        UnknownNameError: the library has no such network.
        SparsebenchError: it cannot be built, or has no linear classifier on pooled features.
    """
    import torch

    library, _, entry = arch.partition(":")
    if arch not in libraries_with(entry):
        names = timm_library().list_models() if library == "timm" else _classifiers()
        raise UnknownNameError("architecture", arch, [f"{library}:{name}" for name in names])
    builder = partial(_built, _timm if library == "timm" else _torchvision, entry)
    try:
        with torch.device("meta"):
            module = builder(2)
    except Exception as error:  # whatever a library says of a network that it cannot build
        raise SparsebenchError(
            f"{library} cannot build '{entry}' as a classifier: {_first_line(error)}.",
            f"Take another of its networks. {_OTHER}",
        ) from error
    classifier = _classifier(module, arch)
    preprocessing, weights = (_of_timm if library == "timm" else _of_torchvision)(entry)
    width = int(module.get_submodule(classifier).in_features)  # type: ignore[arg-type]
    return ArchitectureSpec(arch, builder, classifier, width, preprocessing, weights)


def _built(make: Callable[[str, int], nn.Module], entry: str, num_classes: int) -> nn.Module:
    """The network on the current device; some compute with numbers while they are built."""
    import torch

    where = torch.get_default_device()
    if where.type != "meta":
        return make(entry, num_classes)
    try:
        return make(entry, num_classes)
    except (NotImplementedError, RuntimeError):
        with torch.device("cpu"):
            return make(entry, num_classes).to(where)


def _timm(entry: str, num_classes: int) -> nn.Module:
    module: nn.Module = timm_library().create_model(
        entry, pretrained=False, num_classes=num_classes
    )
    return _one_headed(module)


def _torchvision(entry: str, num_classes: int) -> nn.Module:
    module: nn.Module = torchvision_models().get_model(entry, weights=None, num_classes=num_classes)
    return module


def _one_headed(module: nn.Module) -> nn.Module:
    """A network distilled into two classifiers on the same features, with one of them.

    timm's logits are the mean of both, which is one linear layer
    (:func:`sparsebench.models.checkpoints.layouts.with_one_head`).
    """
    if not (hasattr(module, "head_dist") and hasattr(module, "forward_head")):
        return module
    if hasattr(module, "dist_token"):
        raise ValueError("its two classifiers read different features")

    def forward(self: Any, images: Any) -> Any:
        return self.head(self.forward_head(self.forward_features(images), pre_logits=True))

    kind = type(module)
    del module.head_dist
    module.__class__ = type(kind.__name__, (kind,), {"forward": forward})
    return module


def _classifier(module: nn.Module, arch: str) -> str:
    """Dotted name of the last Linear layer, which must be what timm calls the classifier."""
    from torch import nn

    hidden = {type(m).__name__ for m in module.modules()}.intersection(_HIDDEN_WEIGHTS)
    if hidden:
        raise SparsebenchError(
            f"'{arch}' keeps the weights of its {min(hidden)} where pruning cannot find them.",
            f"timm has most of them with linear layers (timm:vit_base_patch16_224). {_OTHER}",
        )
    linear = [n for n, m in module.named_modules() if isinstance(m, nn.Linear)]
    named = (getattr(module, "default_cfg", None) or {}).get("classifier")
    name = named[0] if isinstance(named, tuple) else named or (linear or [""])[-1]
    if name not in linear or module.get_submodule(name).out_features != 2:
        raise SparsebenchError(
            f"'{arch}' does not end in one linear classifier.",
            f"Heads are trained on the features in front of one. {_OTHER}",
        )
    return str(name)


def _of_timm(entry: str) -> tuple[Preprocessing, None]:
    config: Any = timm_library().get_pretrained_cfg(entry)
    channels, height, width = getattr(config, "input_size", (3, 224, 224))
    if channels != 3 or height != width:
        raise SparsebenchError(
            f"timm's '{entry}' takes images of {channels} x {height} x {width}.",
            "Take a network for square RGB images.",
        )
    named = str(config.interpolation)
    return Preprocessing(
        size=height,
        resize=max(height, math.floor(height / (config.crop_pct or 0.875))),
        interpolation=named if named in INTERPOLATIONS else "bicubic",  # type: ignore[arg-type]
        mean=tuple(config.mean),
        std=tuple(config.std),
    ), None


def _of_torchvision(entry: str) -> tuple[Preprocessing, TorchvisionWeights | None]:
    published = list(torchvision_models().get_model_weights(entry))
    if not published:
        return Preprocessing(), None
    # V1 weights: without the long recipes of V2, as those of the suite's own architectures.
    chosen = published[0]
    transform = chosen.transforms()
    preprocessing = Preprocessing(
        size=int(transform.crop_size[0]),
        resize=int(transform.resize_size[0]),
        interpolation=transform.interpolation.value,
        mean=tuple(transform.mean),
        std=tuple(transform.std),
    )
    top1 = chosen.meta["_metrics"]["ImageNet-1K"]["acc@1"] / 100
    return preprocessing, TorchvisionWeights(str(chosen), top1)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".!")
