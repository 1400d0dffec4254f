"""Models of a table of the user's own: derived features of sites, tuning and fitting."""
