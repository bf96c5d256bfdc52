"""Forecasting many series at once: kernels in machine code, one file a step.

``season``: the seasonal part, taken out first. ``polynomial``:
stationarity and invertibility. ``conditional`` and ``exact``: the two likelihoods. ``orders``: the
search. ``batch``: ARIMA for a table of series. ``smoothing``: exponential smoothing and Theta.
Importing these compiles: do it where they run.
"""
