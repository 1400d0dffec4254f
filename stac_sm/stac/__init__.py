"""STAC documents and catalogues: items, reading and writing catalogues, links, index.

`items` makes items, `publish` puts them into a store, `links` and `sub_catalogs` keep catalogue documents right,
`retract` withdraws, `visibility` says what may be given out, `pgstac` loads a database. `catalogs/` opens catalogues of
every kind, `index/` keeps stac-geoparquet.
"""
