"""Diagnostics of a model: permutation importance, learning curve, leakage.

`diagnose` runs them within a budget; `results` holds what they find; the report shows it.
"""
