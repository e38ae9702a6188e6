from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from sparsebench.bench.tasks.scores import score
from sparsebench.models.errors import UnknownNameError


@given(st.integers(1, 60), st.integers(1, 9), st.integers(0, 2**32 - 1))
@pytest.mark.filterwarnings("ignore::UserWarning:sklearn")
def test_scores_are_scikit_learns(count: int, classes: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels, predicted = generator.integers(0, classes, (2, count))
    assert score("top1", labels, predicted) == pytest.approx(accuracy_score(labels, predicted))
    expected = balanced_accuracy_score(labels, predicted)
    assert score("mean_per_class", labels, predicted) == pytest.approx(expected)


def test_an_unknown_metric_is_named() -> None:
    with pytest.raises(UnknownNameError, match="top1"):
        score("top-1", np.zeros(1, np.int64), np.zeros(1, np.int64))


def test_a_training_process_imports_neither_scikit_learn_nor_pandas() -> None:
    code = (
        "import sys, sparsebench.bench.training.process; "
        "import sparsebench.bench.training.loop; print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"sklearn", "pandas"} & set(done.stdout.split())
