"""Pixels of files: read, resample, write as COG, draw.

`source` describes a band by its item, `fetch` brings the bytes to a local file, `read` reads a window by one of the
`readers`, `pixels` reads single pixels; `resample` moves values to another grid; `cog` and `mosaic_cog` write; `plots`
draws. Every folder above may import from here. It imports `storage` and `core`, and knows no catalogue and no feature.
"""
