"""A detection head that learns from a frozen backbone's maps, step by step (``linear-online``)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsebench.models.architectures.heads import new_head
from sparsebench.models.detection.head import WIDTH, Rows, from_rows, map_shapes

if TYPE_CHECKING:
    from sparsebench.bench.training.boxes import BoxObjective, BoxTargets
    from sparsebench.bench.training.recipe import TrainRecipe


class BoxHead:
    """A detection head on a frozen backbone's maps, and its optimizer: a :class:`Learner`.

    Args:
        objective: what it is trained for.
        facts: of the artifact that gives the maps: architecture and channels.
        recipe: momentum, weight decay, Nesterov.
        seed: of the first weights.
    """

    threads = 0

    def __init__(
        self, objective: BoxObjective, facts: Mapping[str, Any], recipe: TrainRecipe, seed: int
    ) -> None:
        channels = tuple(facts["channels"])
        self.module = new_head(facts["arch"], channels, objective.classes, width=WIDTH, seed=seed)
        self._objective, self._shapes = objective, map_shapes(channels, objective.size)
        self._optimizer = torch.optim.SGD(
            self.module.parameters(),
            recipe.lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            nesterov=recipe.nesterov,
        )

    def step(self, features: NDArray[np.float32], targets: BoxTargets, rate: float) -> float:
        """As :meth:`Learner.step`."""
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        loss = self._objective.loss_of(self.module.train()(self._maps(features)), targets)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        return float(loss.detach())

    def predict(self, features: NDArray[np.float32]) -> Tensor:
        """As :meth:`Learner.predict`: raw predictions ``[n, D]``."""
        with torch.inference_mode():
            rows: Tensor = Rows()(self.module.eval()(self._maps(features)))
        return rows

    def weights_now(self) -> Any:
        """As :meth:`Learner.weights_now`."""
        return copy.deepcopy(self.module.state_dict())

    def restore(self, weights: Any) -> None:
        """As :meth:`Learner.restore`."""
        self.module.load_state_dict(weights)

    def _maps(self, features: NDArray[np.float32]) -> list[Tensor]:
        return from_rows(torch.from_numpy(np.array(features)), self._shapes)
