"""Forecasting many series at once: kernels in machine code, one file a step.

``season``: the seasonal part, taken out first; ``period``: one that nobody named. ``polynomial``:
stationarity and invertibility. ``conditional`` and ``exact``: the two likelihoods. ``orders``: the
search. ``arima``: one fit and its forecast; ``batch``: a table of them. ``smoothing``: exponential
smoothing and Theta. ``ridge``: autoregression on seasonal lags.
Importing these compiles: do it where they run.
"""
