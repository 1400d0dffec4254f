"""Catalogues of every kind behind one search: folders and S3, static catalogues by http, STAC APIs, stac-geoparquet.

`catalog` chooses by the address; `search` holds what all searches share.
"""
