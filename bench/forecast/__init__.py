"""How long a plan will take, before it runs: what its cells took earlier, scaled by counts."""

from sparsebench.bench.forecast.earlier import Earlier, earlier_path, remember
from sparsebench.bench.forecast.predict import (
    Forecast,
    Prediction,
    forecast,
    launch_seconds,
    predict,
)

__all__ = [
    "Earlier",
    "Forecast",
    "Prediction",
    "earlier_path",
    "forecast",
    "launch_seconds",
    "predict",
    "remember",
]
