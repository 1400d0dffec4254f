"""Stations: ISMN records, match-ups with features, and screening by triple collocation.

`records` reads stations from the catalogue, `matchups` joins their days with the features of their pixels,
`screening` decides which stations represent their pixel. Items of both are in `matchup_item` and `screening_item`.
"""
