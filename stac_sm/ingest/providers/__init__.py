"""One module a provider's product: which files it takes, what their content means, which item they become.

A provider composes readers of `stac_sm.ingest.formats`. `stac_sm.ingest.registry` lists them all.
"""
