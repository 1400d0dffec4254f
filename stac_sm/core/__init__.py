"""Nouns that everything shares: errors, periods, grids, variables, metrics, fingerprints, text.

It imports nothing of this package outside itself.
"""
