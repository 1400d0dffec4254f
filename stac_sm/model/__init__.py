"""Models: learners, fitting, hold-outs, prediction intervals, area of applicability.

`fit` trains a `model.Model`; `holdout` and `evaluate` score it; `intervals` and `applicability` say how far it can
be trusted; `item` makes it a STAC item; `predict` turns a feature cube into soil moisture. `forest/` evaluates
boosters fast, `tabular/` trains on tables, `diagnostics/` explains. No other stage is imported.
"""
