"""The product: its assets and items, reading it, and its means and mosaics.

`item` makes the item and assets of a tile and day; `read` opens the product as a Dataset or a point series;
`aggregates/` makes global days, monthly and annual means; `pictures` draws.
"""
