"""Global 1 km daily surface soil moisture, made and published as STAC items."""
