"""Scores as validations of satellite soil moisture state them: the home of every figure of `validate` and of reports.

`pair` has the scores of two series, `triplets` triple collocation with every triplet; `groups` gathers scores per
station, network and class, with the intervals of `resampling`; `series` makes anomalies and scales series before they
are compared. All compute on arrays and tables in memory; formulas of one number are in `stac_sm.core.metrics`. Where
pytesmo, the library of the QA4SM service, has a figure, these have the same value.
"""
