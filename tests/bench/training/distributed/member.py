"""One of two processes of a training, and what a test wants to know of it.

``python -m tests.bench.training.distributed.member RANK PORT FILE`` writes what :func:`found` says.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from sparsebench.bench.images import ResizedImages
from sparsebench.bench.training.distributed.batch_norm import GlobalBatchNorm
from sparsebench.bench.training.distributed.facts import of_all
from sparsebench.bench.training.distributed.gradients import Masks, in_parallel
from sparsebench.bench.training.distributed.group import Group
from sparsebench.bench.training.execution import Execution
from sparsebench.bench.training.loop import train_network
from sparsebench.bench.training.network import Network
from sparsebench.bench.training.recipe import TrainRecipe
from sparsebench.bench.training.source import TrainingData
from sparsebench.models.cards import Preprocessing
from tests.bench.training.small import small_network

IMAGES, BATCH = 33, 10
"""Batches of 10, 10, 10 and 3: the last one is split unevenly."""


def noise() -> TrainingData:
    generator = np.random.default_rng(0)
    shapes = np.array([(20, 20 + n % 3) for n in range(IMAGES)], np.int32)
    starts = np.concatenate([[0], shapes.prod(axis=1).cumsum() * 3])
    pixels = generator.integers(0, 256, starts[-1]).astype(np.uint8)
    source = ResizedImages(pixels, starts, shapes, generator.integers(0, 2, IMAGES))
    return TrainingData(source, source, source, Preprocessing(16, 18), "top1")


def sparse_network(channels_last: bool = False) -> Network:
    """Two of three weights of the convolution are zero, for good."""
    network = small_network()
    weight = network.module.get_parameter("0.weight")
    if channels_last:
        network.module.to(memory_format=torch.channels_last)
    kept = torch.arange(weight.numel()).view_as(weight) % 3 == 0
    with torch.no_grad():
        weight.mul_(kept)
    return Network(network.module, {"0.weight": kept}, {weight: kept}, network.head, masked=True)


def trained(network: Network, group: Group | None, **changes: Any) -> dict[str, Any]:
    """The curve, the answers and the weights that a training leaves."""
    recipe = TrainRecipe("short", 3, 0.2, BATCH)
    execution = Execution(**changes)
    done = train_network(network, noise(), recipe, execution, seed=3, group=group)
    memory: dict[str, Any] = {}
    if group is not None:
        done, memory = of_all(done, {"peak_memory_bytes": 5}, network, group)
    return {
        "losses": [epoch.loss for epoch in done.epochs],
        "validation": [epoch.validation for epoch in done.epochs],
        "right": done.right,
        "state": network.module.state_dict(),
        "facts": done.facts,
        "memory": memory,
    }


def normalised(whole: Tensor, wanted: Tensor, group: Group | None) -> dict[str, Any]:
    """Batch norm on a batch, or on this process's part of it: values, gradients, statistics."""
    layer = nn.BatchNorm2d(whole.shape[1], dtype=whole.dtype)
    with torch.no_grad():
        layer.weight.copy_(torch.linspace(0.5, 2, len(layer.weight)))
    part = slice(None) if group is None else group.part(len(whole))
    own = whole[part].clone().requires_grad_()
    if group is None:
        made = layer(own)
    else:
        with GlobalBatchNorm(group):
            made = layer(own)
    (made * wanted[part]).sum().backward()
    assert own.grad is not None and layer.weight.grad is not None and layer.bias.grad is not None
    parameters = torch.stack([layer.weight.grad, layer.bias.grad])
    if group is not None:
        group.summed(parameters)
    return {
        "made": made.detach(),
        "of_input": own.grad,
        "of_parameters": parameters,
        "running": torch.stack([layer.get_buffer("running_mean"), layer.get_buffer("running_var")]),
    }


def batch(channels_last: bool) -> tuple[Tensor, Tensor]:
    """Seven images far from zero, so that a variance from squares would be poor."""
    generator = torch.Generator().manual_seed(1)
    whole = torch.randn(7, 6, 5, 4, generator=generator) + 30
    wanted = torch.randn(7, 6, 5, 4, generator=generator)
    if channels_last:
        whole = whole.contiguous(memory_format=torch.channels_last)
    return whole, wanted


def gradients(masks: bool, channels_last: bool, group: Group) -> tuple[Tensor, Tensor, Tensor]:
    """The convolution's gradient: this process's own, the sum that DDP gives, the mask."""
    network = sparse_network(channels_last)
    sent: Masks = network.sparse if masks else {}
    images = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(group.rank))
    network.module.train()
    network.module(images).square().sum().backward()
    weight, kept = next(iter(network.sparse.items()))
    assert weight.grad is not None
    own = weight.grad.clone()
    weight.grad = None
    module = in_parallel(network.module, sent, group)
    module(images).square().sum().backward()
    assert weight.grad is not None
    return own, weight.grad.clone(), kept


def found(group: Group, local: Group) -> dict[str, Any]:
    return {
        "sparse": trained(sparse_network(), group),
        "dense": trained(small_network(), group),
        "local": trained(sparse_network(), local),
        "pieces": trained(sparse_network(), group, accumulate=2),
        "norm": {layout: normalised(*batch(layout), group) for layout in (False, True)},
        "gradients": {
            (masks, layout): gradients(masks, layout, group)
            for masks in (False, True)
            for layout in (False, True)
        },
    }


def main() -> None:
    rank, port, file = sys.argv[1:]
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    store = dist.TCPStore("127.0.0.1", int(port), is_master=False)  # type: ignore[attr-defined]
    dist.init_process_group("gloo", store=store, rank=int(rank), world_size=2)
    joined = [
        Group(int(rank), 2, "cpu", norm, dist.new_group(), dist.new_group())
        for norm in ("global", "local")
    ]
    torch.save(found(*joined), file)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
