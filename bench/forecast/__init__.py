"""How long a plan will take, before it runs: rates measured earlier on this machine, and work."""

from sparsebench.bench.forecast.model import Prediction, predict
from sparsebench.bench.forecast.plan import Forecast, forecast
from sparsebench.bench.forecast.rates import Rates, rates_of

__all__ = ["Forecast", "Prediction", "Rates", "forecast", "predict", "rates_of"]
