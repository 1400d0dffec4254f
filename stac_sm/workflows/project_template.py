"""Hold the project files that ``stac-sm init`` writes: they explain themselves."""

from stac_sm.ingest.download_table import toml_comments

_HEAD = """\
# A stac_sm project. Everything below may be changed; what is left out has the value shown behind '#'.

[project]
title = "Soil moisture at 1 km"     # title of the catalogue
version = "001"                     # product version, part of every id: raise it to keep old and new side by side
# simulated = false                 # true: inputs are of `stac-sm simulate`, and all that is made from them says so

[stations]                          # which measurements of ISMN stations count
# max_depth = 0.05                  # m, deepest end of a sensor
# flag = "G"                        # the one quality flag that is good
# min_hours = 12                    # least number of hourly values in a daily mean

[matchups]
period = "2000/2020"                # days to match up: 2018, 2018-07, 2018-07-01 or FIRST/LAST
# leave_out = []                    # networks that no model sees, for `stac-sm validate`; e.g. ["USCRN"]

[screening]                         # triple collocation: which stations represent their pixel
# min_correlation = 0.6             # least correlation with the unknown truth
# max_error_std = 0.06              # largest standard deviation of the error, m3 m-3
# decide_by = "bounds"              # lower bound of that correlation and upper bound of that error: an estimate alone
                                    # keeps stations by luck, as a year or two of days are few; or "estimate"
# confidence = 0.9                  # share covered by the bootstrap intervals that give these bounds
# max_failed_resamples = 0.2        # share of resamples that may allow no triple collocation; more: undetermined
# min_days = 100                    # days with all three data sets
# third = "esa-cci-sm"              # third data set beside stations and ERA5-Land: also esa-cci-sm-passive, c3s-sm,
                                    # c3s-sm-passive, smap, or any other collection of soil moisture in m3 m-3
# third_asset = ""                  # its asset, where the collection has several of soil moisture
# min_sites = 5                     # with fewer, training goes on unscreened and says so

[training]                          # XGBoost
# tune = true                       # the sum of boosters for unseen sites; false: one booster, as set below
# n_estimators = 300
# max_depth = 6
# eta = 0.05

[validation]
# strategies = ["random", "site", "year", "network"]   # also "block"; network: where there are 2 or more
# folds = 5

[product]                           # what `stac-sm plan` plans by default
# tiles = []                        # e.g. ["h18v04", "h19v04"]; none are all tiles with land
# period = ""                       # FIRST/LAST; empty is the period of [matchups]

[costs]                             # US dollars
# core_hour = 0.02                  # one core for an hour
# gb_read = 0.0                     # 10^9 bytes read
# gb_month = 0.023                  # 10^9 bytes kept for a month
# get_1000 = 0.0004                 # 1000 GET requests
# put_1000 = 0.005                  # 1000 PUT and LIST requests

[slurm]                             # what a job of `stac-sm run --scheduler slurm` asks for
                                    # also: queue (partition), account, interface, directives, prologue
# walltime = "04:00:00"
# cores = 2
# memory = "8G"
# logs = "slurm-logs"               # folder for what jobs print

[fetch]                             # what `stac-sm fetch` and `stac-sm update` do
# folder = "granules"               # where fetched files are kept, below the project
# queue_hours = 24                  # longest wait for one request of the Climate Data Store

# Inputs, as `stac-sm ingest SOURCE FILES` reads them: products, variables to request, size of a tile of 1,112 km and a
# month before compression, login. Licences and pages: catalog/README.md, where `ingest raster` (any series) is, too.
{INPUTS}
[sources.era5-land]
min_hours = 24                      # least number of hours in a daily mean
                                    # a Zarr store is huge: set also period and bbox (west, south, east, north)

# The recipe: the features of the model, in order. resampling: nearest, bilinear, average.
# time: static; daily; composite (linear between the middles of two items at most max_gap days apart); previous.
# missing: nodata (the pixel is left out), nan (left to the model) or climatology (the mean of other years, flagged).
# lag: days back (3: the value of 3 days before); trailing: mean of so many days (7); band: of an asset with several.
# exponential: exponentially weighted mean of a time scale in days (10); window: days that it looks at (30).
# statistic: value, climatology (a mean of many years), spread (standard deviation of their days) or anomaly (the value
# less that mean). A feature that uses one says of which years: climatology = { period = "2001/2010" }, by month, or
# with season = "year" in it of all days; `stac-sm climatology` makes it.
# Several features of one source: statistics = ["value", "climatology", "spread", "anomaly"], exponentials = [5, 20]
# make NAME, NAME_mean, NAME_spread, NAME_anomaly, NAME_exp5, NAME_exp20.
[recipe]
derived = []                        # or some of "doy_sin", "doy_cos", "latitude"

"""

_GLASS = """\
[[recipe.features]]
name = "bsa_vis"
collection = "glass-albedo"
asset = "bsa_vis"
resampling = "nearest"
time = "composite"
max_gap = 16

[[recipe.features]]
name = "bsa_nir"
collection = "glass-albedo"
asset = "bsa_nir"
resampling = "nearest"
time = "composite"
max_gap = 16

[[recipe.features]]
name = "bsa_shortwave"
collection = "glass-albedo"
asset = "bsa_shortwave"
resampling = "nearest"
time = "composite"
max_gap = 16

[[recipe.features]]
name = "lst"
collection = "glass-lst"
asset = "lst"
resampling = "nearest"
time = "daily"

[[recipe.features]]
name = "lai"
collection = "glass-lai"
asset = "lai"
resampling = "average"
time = "composite"
max_gap = 16

[[recipe.features]]
name = "swvl1"
collection = "era5-land"
asset = "swvl1"
resampling = "bilinear"
time = "daily"

[[recipe.features]]
name = "elevation"
collection = "cop-dem"
asset = "elevation"
resampling = "average"
time = "static"

[[recipe.features]]
name = "slope"
collection = "cop-dem"
asset = "slope"
resampling = "average"
time = "static"

[[recipe.features]]
name = "sand"
collection = "soilgrids"
asset = "sand"
resampling = "average"
time = "static"

[[recipe.features]]
name = "silt"
collection = "soilgrids"
asset = "silt"
resampling = "average"
time = "static"

[[recipe.features]]
name = "clay"
collection = "soilgrids"
asset = "clay"
resampling = "average"
time = "static"

"""

_MEMORY = """\
# What the soil remembers: ERA5-Land soil moisture and temperature of a day, and their site mean, spread, anomaly and
# exponentially weighted means. The longest looks at 90 days: ingest ERA5-Land from 89 days before the first day of the
# product. The means of many years are made by `stac-sm climatology`; change their period to years that you ingest.
[[recipe.features]]
name = "swvl1"
collection = "era5-land"
asset = "swvl1"
resampling = "bilinear"
time = "daily"
statistics = ["value", "climatology", "spread", "anomaly"]
exponentials = [3, 10, 30]
climatology = { period = "2001/2020", season = "year" }

[[recipe.features]]
name = "stl1"
collection = "era5-land"
asset = "stl1"
resampling = "bilinear"
time = "daily"
statistics = ["value", "climatology", "spread", "anomaly"]
exponentials = [3, 10, 30]
climatology = { period = "2001/2020", season = "year" }

"""

_PUBLIC = """\
# From public STAC APIs, read in place. ERA5-Land is in none of them: ingest it.
[[recipe.features]]
name = "lst"                        # clear sky only: clouds are left to the model
collection = "modis-11A1-061"
asset = "LST_Day_1km"
catalog = "https://planetarycomputer.microsoft.com/api/stac/v1"
sign = "planetary-computer"         # pip install stac_sm[planetary-computer]
resampling = "nearest"
time = "daily"
missing = "nan"
valid = [7500, 65535]

[[recipe.features]]
name = "lai"
collection = "modis-15A2H-061"
asset = "Lai_500m"
catalog = "https://planetarycomputer.microsoft.com/api/stac/v1"
sign = "planetary-computer"
resampling = "average"
time = "composite"
max_gap = 16
missing = "nan"
valid = [0, 100]                    # above are codes: water, barren, urban, snow

[[recipe.features]]
name = "elevation"
collection = "cop-dem-glo-90"
asset = "data"
catalog = "https://earth-search.aws.element84.com/v1"
resampling = "average"
time = "static"

[[recipe.features]]
name = "swvl1"
collection = "era5-land"
asset = "swvl1"
resampling = "bilinear"
time = "daily"

"""

_LAND = """\
# Masks: where there is no land, and where the soil is frozen or under snow, there is no soil moisture.
[[recipe.masks]]
name = "water"                      # sea and lakes: where the soil map has no value
collection = "soilgrids"
asset = "clay"
resampling = "average"
time = "static"
unknown = true

"""

_LAND_PUBLIC = """\
# Masks: where there is no land, and where the soil is frozen or under snow, there is no soil moisture.
[[recipe.masks]]
name = "water"                      # sea and lakes: codes 254 (water) and 255 (not processed) of the leaf area
collection = "modis-15A2H-061"
asset = "Lai_500m"
catalog = "https://planetarycomputer.microsoft.com/api/stac/v1"
sign = "planetary-computer"
resampling = "average"
time = "previous"
max_gap = 16
valid = [0, 253]
unknown = true

"""

_MASKS = """\
[[recipe.masks]]
name = "frozen"
collection = "era5-land"
asset = "stl1"
resampling = "bilinear"
time = "daily"
below = 273.15

[[recipe.masks]]
name = "snow"
collection = "era5-land"
asset = "sd"
resampling = "bilinear"
time = "daily"
above = 0.01                        # m of water
"""

_WHOLE_HEAD = _HEAD.replace("{INPUTS}\n", toml_comments())
_HEADS = _GLASS.split("[[recipe.features]]\n")
_OTHERS = "[[recipe.features]]\n".join(one for one in _HEADS if not one.startswith('name = "swvl1"'))
_SEASONAL = _WHOLE_HEAD.replace(
    'derived = []                        # or some of "doy_sin", "doy_cos", "latitude"',
    'derived = ["doy_sin", "doy_cos"]    # or some of "doy_sin", "doy_cos", "latitude"',
)
_GLASS_SM = _WHOLE_HEAD + _GLASS + _LAND + _MASKS

TEMPLATES = {
    "memory": _SEASONAL + _OTHERS + _MEMORY + _LAND + _MASKS,
    "glass-sm": _GLASS_SM,
    "public": _WHOLE_HEAD + _PUBLIC + _LAND_PUBLIC + _MASKS,
    "glass": _GLASS_SM,
}
"""Project files by recipe: ``glass-sm`` (its old name is ``glass``) is GLASS SM's, from ingested files; ``memory``, the
default, adds mean, spread, anomaly and exponential means of ERA5-Land to it; ``public`` takes what public APIs have."""
