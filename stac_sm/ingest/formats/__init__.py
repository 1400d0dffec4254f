"""Readers of file formats and grids that several providers share: HDF4-EOS, NetCDF, GRIB, ``.stm``, GeoTIFF, VRT.

`ingest.providers` calls them to get arrays and metadata of granules. They report damaged or unexpected files as
`GranuleError`. Only `sinusoidal_tile` builds items and layers; the others know neither items nor catalogues.
"""
