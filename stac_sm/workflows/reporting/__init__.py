"""The report of a model: one self-contained HTML page and the figures behind it as JSON.

`findings` collects what the page says, `tables`, `figures` and `stations` show it, `page` puts it together. It
computes no score: scores come from `stac_sm.model` and `stac_sm.core.scores`.
"""
