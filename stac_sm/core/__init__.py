"""Nouns and arithmetic that every other folder uses: errors, periods, grids, variables, metrics, fingerprints and text.

It is the lowest layer: any folder may import any module of it, and it imports no other folder of this package. Nothing
here reads or writes a catalogue, a store or a raster file.
"""
