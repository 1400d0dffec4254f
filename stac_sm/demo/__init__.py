"""The demonstration: the whole flow on a simulated Earth, offline.

`flow` makes a project, simulates provider files, ingests, trains, plans, runs, validates and audits, by the same
functions that the commands call. It may import everything but the command line.
"""
