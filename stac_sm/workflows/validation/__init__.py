"""Validation: the product beside stations and beside other products, with a report.

`validate` composes it and publishes the result; `stations` compares with station records, `products` with
SMAP/Sentinel-1, SMAP and ESA CCI; `page` and `figures` draw the report.
"""
