"""Aggregates of product items: global days, monthly and annual means.

`aggregate` says what an aggregate is and makes it once; `source_items` finds its source items; `means` and `mosaic`
compute; `staleness` finds those whose source items have changed.
"""
