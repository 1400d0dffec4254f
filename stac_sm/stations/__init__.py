"""Stations: ISMN records, match-ups with features, and screening by triple collocation.

`records` reads stations and their daily means from the catalogue, `matchups` joins the means with the features of their
pixels, `screening` decides which stations represent their pixel; `matchup_item` and `screening_item` write both results
to STAC items. Workflows and the command line call these functions; the tables go to `model` for training. The folder
imports `features`, `stac`, `raster`, `storage` and `core`, and no other stage.
"""
