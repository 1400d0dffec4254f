"""Readers of file formats and grids that several providers share: HDF4-EOS, NetCDF, GRIB, ``.stm``, GeoTIFF.

They return arrays and metadata, and know neither items nor catalogues.
"""
