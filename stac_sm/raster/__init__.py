"""Pixels of files: read, resample, write as COG, draw.

`source` says what an item tells about a band, `fetch` brings the bytes to a local file, `read` reads a window by
one of the `readers`, `pixels` single pixels; `resample` moves values to another grid; `cog` and `mosaic_cog` write.
It knows no catalogue and no feature.
"""
