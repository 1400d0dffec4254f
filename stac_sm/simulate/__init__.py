"""The simulated Earth: granules in the providers' formats, ISMN stations, and the truth behind them.

`dataset` writes the files of a period; `earth` holds the constants and random fields, `truth` the soil moisture; one
module a provider writes its format. The demo and the tests use it, so that the project ships no data of others. It
imports `core` only.
"""
