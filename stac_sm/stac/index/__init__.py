"""The index: stac-geoparquet shards by month, derived from the items and always rebuildable.

`update` brings it up to date, `shard` writes and reads one shard, `manifest` records which versions of the items a
shard holds, `row_codes` number the rows that planning reads.
"""
