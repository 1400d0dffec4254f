"""Pictures of cubes: legible, true to their colours, the same bytes each time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from click.testing import CliRunner
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from stac_sm.cli.main import main
from stac_sm.core.colours import SOIL_MOISTURE_RANGE
from stac_sm.core.errors import InputError
from stac_sm.core.period import Period
from stac_sm.core.projections import transformer_to_lonlat
from stac_sm.core.variables import QualityFlag
from stac_sm.product import pictures
from stac_sm.product.aggregates.mosaic import make_mosaics
from stac_sm.raster import plots
from stac_sm.raster.plots import SUFFIXES, plot_cube, plot_map, plot_series
from stac_sm.stac.catalogs.catalog import open_catalog
from tests.support.fields import SMALL
from tests.support.figure_text import unreadable
from tests.support.product_days import known, new_project, put_days
from tests.support.station_items import put_station


def cube_of(**fields):
    """A day of variables on a small grid, 10 km pixels."""
    y, x = np.arange(30) * -1e4, np.arange(40) * 1e4
    day = np.array(["2018-07-01"], dtype="datetime64[ns]")
    variables = {
        name: (("time", "y", "x"), np.broadcast_to(values, (1, 30, 40)), {"units": unit, "long_name": f"The {name}"})
        for name, (values, unit) in fields.items()
    }
    return xr.Dataset(variables, {"time": day, "y": y, "x": x})


RAMP = np.linspace(0.05, 0.45, 40)[None, None, :]
CUBE = cube_of(sm=(RAMP, "m3 m-3"), lst=(250 + 100 * RAMP, "K"), land=(RAMP > 0.1, "1"))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_kind_of_picture_is_written(tmp_path, suffix):
    file = tmp_path / f"cube{suffix}"
    plot_cube(CUBE, file, title="h18v04")
    assert file.read_bytes()[:4] in (b"\x89PNG", b"%PDF", b"<?xm")


def test_a_png_is_the_same_bytes_each_time(tmp_path):
    for name in ("a.png", "b.png"):
        plot_cube(CUBE, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_wet_is_dark_and_no_value_is_grey(tmp_path):
    values = np.where(np.arange(40)[None, None, :] < 20, 0.1, 0.4) + np.zeros((1, 30, 40))
    values[:, :5, :] = np.nan
    plot_cube(cube_of(sm=(values, "m3 m-3")), tmp_path / "sm.png")
    pixels = np.asarray(Image.open(tmp_path / "sm.png").convert("RGB")).astype(int)
    colours, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_counts=True)
    most = colours[np.argsort(counts)][::-1][:4].tolist()
    assert [217, 217, 217] in most
    height, width = pixels.shape[:2]
    row = pixels[int(0.55 * height)]
    left, right = row[int(0.25 * width)], row[int(0.55 * width)]
    assert left.sum() > right.sum()


def test_a_variable_without_a_value_says_so(tmp_path):
    plot_cube(cube_of(sm=(np.nan, "m3 m-3")), tmp_path / "none.svg")
    assert (tmp_path / "none.svg").stat().st_size > 1000


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"cube\.gif: a name that ends with \.png, \.pdf, \.svg is required"):
        plot_cube(CUBE, tmp_path / "cube.gif")


@pytest.fixture
def kept(monkeypatch):
    """The figures that were drawn; nothing is written."""
    figures = []

    def keep(figure, file):
        FigureCanvasAgg(figure)
        assert unreadable(figure) == []
        figures.append(figure)

    monkeypatch.setattr(plots, "_save", keep)
    return figures


LONG = (
    "Volumetric soil water of layer 1 from 0 to 7 cm, the mean of the hours of a day in UTC, filled by its climatology"
)


@pytest.mark.parametrize("number", [1, 2, 5, 13])
def test_a_cube_has_no_empty_panels_and_titles_of_the_field(kept, number):
    cube = cube_of(**{f"feature_{i}_anomaly_of_the_year": (RAMP, "m3 m-3") for i in range(number)}, snow=(np.nan, "m"))
    cube["frozen"] = cube.snow > 0
    cube["feature_0_anomaly_of_the_year"].attrs["long_name"] = LONG
    plot_cube(cube, Path("cube.png"), title="h18v04, " + LONG)
    (figure,) = kept
    panels = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    assert len(panels) == number
    assert "_anomaly_of_the_year)" in panels[0].get_title().replace("\n", "")
    assert panels[0].get_title().replace("\n", " ").startswith("Volumetric soil water of layer 1")
    assert figure._supxlabel.get_text().replace("\n", " ") == "no value on this day: snow; nowhere on this day: frozen"


def test_soil_moisture_of_any_source_has_one_range_of_colours(kept):
    """A colour means the same value in a cube as in a map; what is no soil moisture is not drawn as if it were."""
    cube = cube_of(**dict.fromkeys(("swvl1", "mean", "anomaly", "spread", "sm_uncertainty"), (RAMP / 2, "m3 m-3")))
    for name, statistic in (("mean", "climatology"), ("anomaly", "anomaly"), ("spread", "spread")):
        cube[name].attrs["statistic"] = statistic
    plot_cube(cube, Path("cube.png"))
    drawn = {axes.get_title(): axes.images[0] for axes in kept[0].axes if axes.images and axes.get_title()}
    own = {title: image.cmap.name == "soil_moisture" for title, image in drawn.items()}
    assert [name for name, one in own.items() if one] == ["The swvl1 (swvl1)", "The mean (mean)"]
    assert all(image.get_clim() == SOIL_MOISTURE_RANGE for title, image in drawn.items() if own[title])
    low, high = drawn["The anomaly (anomaly)"].get_clim()
    assert low == -high
    assert "drier" in next(axes.get_ylabel() for axes in kept[0].axes if "drier" in axes.get_ylabel())


def test_a_cube_is_cut_to_its_values_and_names_what_is_the_same_in_every_pixel(kept):
    island = np.full((1, 30, 40), np.nan)
    island[:, 10:14, 20:30] = RAMP[..., :10]
    water = np.isnan(island)
    plot_cube(cube_of(sm=(island, "m3 m-3"), doy=(0.38, "1"), water=(water, "1")), Path("cube.png"))
    (figure,) = kept
    panels = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    assert [axes.images[0].get_array().shape for axes in panels] == [(8, 14), (8, 14)]
    assert figure._supxlabel.get_text() == "the same in every pixel: doy 0.38"


def test_the_line_below_a_cube_is_close_to_its_panels(kept):
    tall = cube_of(**{f"f{i}": (RAMP, "K") for i in range(13)}, snow=(np.nan, "m"))
    plot_cube(tall.isel(x=slice(0, 30)), Path("cube.png"))
    (figure,) = kept
    figure.draw_without_rendering()
    lowest = min(axes.get_tightbbox().y0 for axes in figure.axes)
    assert 0 < lowest - figure._supxlabel.get_window_extent().y1 < 0.4 * figure.dpi


def test_a_cube_in_degrees_has_the_coast_and_says_which_degrees(kept):
    field = cube_of(swvl1=(RAMP, "m3 m-3"))
    place = {"x": np.linspace(6, 10, 40), "y": np.linspace(46, 43, 30)}
    plot_cube(field.assign_coords(place), Path("cube.png"))
    axes = kept[0].axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("degrees east", "degrees north")
    assert len(axes.collections) == 1
    assert axes.get_aspect() == pytest.approx(1 / np.cos(np.radians(44.5)), rel=1e-3)


def test_a_cube_without_any_value_says_so(kept):
    plot_cube(cube_of(snow=(np.nan, "m"), sm=(np.nan, "m3 m-3")), Path("cube.png"), title="h18v04")
    assert kept[0].axes == []
    assert kept[0]._supxlabel.get_text() == "no value on this day: snow, sm"


def test_a_map_has_a_title_a_legend_and_its_note(kept):
    values = RAMP + np.zeros((1, 30, 40))
    for note in ("", "cells that show are those of coarse inputs: era5-land (0.1 degrees)"):
        plot_map(field_of(values), Path("map.png"), title="Soil moisture, h18v04, 2018-07-01", note=note)
        axes, bar = kept[-1].axes
        assert axes.get_title() == "Soil moisture, h18v04, 2018-07-01"
        assert bar.get_ylabel() == "soil moisture, m³ m⁻³"
        assert (kept[-1]._supxlabel.get_text() if note else "") == note
    values[0, :3] = np.nan
    plot_map(field_of(values), Path("map.png"), title="Soil moisture")
    assert kept[-1]._supxlabel.get_text() == "grey: no value"


@pytest.mark.parametrize("days", [1, 2, 45, 7300])
def test_a_series_has_its_flags_and_what_stations_measured(kept, days):
    series = series_of(np.linspace(0.1, 0.4, days))
    series["qa"] = np.where(np.arange(days) == 0, int(QualityFlag.CLIPPED | QualityFlag.GAP_FILLED), 0)
    stations = pd.DataFrame({"site": "NET.with-a-rather-long-name-of-a-station", "date": series.index, "sm": 0.2})
    plot_series(series, Path("s.png"), title="Soil moisture, -120.123, 45.1, 2018-07-01", stations=stations)
    axes, strip = kept[-1].axes
    assert [one.get_text() for one in strip.get_yticklabels()] == ["gap filled", "clipped"]
    assert [list(line.get_xdata()) for line in strip.lines] == [[series.index.to_numpy()[0]]] * 2
    (crosses,) = (line for line in axes.lines if line.get_marker() == "x")
    assert len(crosses.get_xdata()) == days
    assert "not to be passed on" in kept[-1]._supxlabel.get_text()
    assert axes.get_legend_handles_labels()[1][0] == "prediction interval"
    series.attrs["coverage"] = 0.8
    plot_series(series.assign(qa=0), Path("s.png"), title="Soil moisture")
    assert kept[-1].axes[0].get_legend_handles_labels()[1][0] == "80 % prediction interval"
    assert len(kept[-1].axes) == 1
    assert kept[-1]._supxlabel is None


def field_of(values, unit="m3 m-3"):
    return cube_of(sm=(values, unit)).sm.isel(time=0)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_maps_and_series_of_every_kind(tmp_path, suffix):
    plot_map(field_of(RAMP), tmp_path / f"map{suffix}", title="h18v04, 2018-07-01")
    plot_series(series_of([0.1, np.nan, 0.2]), tmp_path / f"series{suffix}", title="8, 45")
    for name in ("map", "series"):
        assert (tmp_path / f"{name}{suffix}").read_bytes()[:4] in (b"\x89PNG", b"%PDF", b"<?xm")
    text = (tmp_path / f"map{suffix}").read_text() if suffix == ".svg" else ""
    assert suffix != ".svg" or "h18v04" in text


def test_a_difference_is_white_at_zero_and_blue_where_it_is_wetter(tmp_path):
    change = np.where(np.arange(40) < 13, -0.1, np.where(np.arange(40) < 26, 0.0, 0.04))[None, None, :]
    plot_map(field_of(change), tmp_path / "d.png", title="difference", difference=True)
    row = np.asarray(Image.open(tmp_path / "d.png").convert("RGB")).astype(int)
    row = row[row.shape[0] // 2, : int(0.85 * row.shape[1])]
    drier, same, wetter = (row[int(part * len(row))] for part in (0.25, 0.55, 0.85))
    assert drier[0] > drier[2] + 50
    assert same.min() > 235
    assert wetter[2] > wetter[0] + 20


def test_a_difference_says_what_its_colours_mean(monkeypatch):
    drawn = []
    monkeypatch.setattr(plots, "_save", lambda figure, file: drawn.append(figure))
    plot_map(field_of(RAMP), Path("d.png"), title="difference", difference=True)
    assert drawn[0].axes[1].get_ylabel() == "red: drier, blue: wetter, m³ m⁻³"


def series_of(values):
    index = pd.date_range("2018-07-01", periods=len(values))
    return pd.DataFrame({"sm": values, "uncertainty": 0.05, "qa": 0}, index=index)


@pytest.fixture
def project(tmp_path):
    made = new_project(tmp_path / "p")
    put_days(made.catalog)
    return made


def test_plot_draws_what_was_published(project, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    drawn = []
    monkeypatch.setattr(pictures, "plot_map", lambda field, file, **told: drawn.append((field, file, told)))
    monkeypatch.setattr(pictures, "plot_series", lambda series, file, **told: drawn.append((series, file, told)))
    lon, lat = transformer_to_lonlat(SMALL.crs).transform(*(SMALL.geobox("h01v01").affine @ (30.5, 30.5)))

    def plot(*arguments):
        done = CliRunner().invoke(main, ["plot", *arguments, "--project", str(project.folder)])
        assert done.exit_code == 0, done.output
        return drawn[-1][0], done.stdout.strip(), drawn[-1][2]

    field, _, _ = plot("2018-07-02", "--tile", "h01v01")
    assert field.odc.crs.epsg == 4326
    expected = known(SMALL, "h01v01", 1)[0][30, 30]
    assert float(field.sel(x=lon, y=lat, method="nearest")) == pytest.approx(expected, abs=0.02)
    field, name, told = plot("2018-07-02", "--tile", "h01v01", "--projection", "product")
    sm = known(SMALL, "h01v01", 1)[0]
    np.testing.assert_array_equal(field.values, sm)
    assert (name, field.attrs["units"], told["difference"]) == ("sm-h01v01-2018-07-02.png", "m3 m-3", False)
    minus = ("--minus", "2018-07-01", "--mask", "clipped", "--projection", "product")
    field, _, told = plot("2018-07-02", "--tile", "h01v01", *minus)
    wanted = sm - known(SMALL, "h01v01", 0)[0]
    wanted[20, 20:25] = np.nan
    np.testing.assert_array_equal(field.values, wanted)
    assert (told["difference"], field.attrs["units"]) == (True, "m3 m-3")
    series, _, _ = plot("2018-07", f"--at={lon},{lat}")
    assert series.sm.to_list()[1] == sm[30, 30]
    make_mosaics(project.catalog, SMALL, Period.parse("2018-07-02"), "001")
    field, _, _ = plot("2018-07-02")
    assert float(field.sel(x=lon, y=lat, method="nearest")) == pytest.approx(sm[30, 30], abs=0.02)


def test_a_series_shows_the_stations_of_the_project_in_its_pixel_and_not_those_of_others(
    project, tmp_path, monkeypatch
):
    drawn = []
    monkeypatch.setattr(pictures, "plot_series", lambda series, file, **told: drawn.append(told["stations"]))
    lon, lat = transformer_to_lonlat(SMALL.crs).transform(*(SMALL.geobox("h01v01").affine @ (30.5, 30.5)))
    put_station(project.catalog, tmp_path, "NET.A", [0.1, 0.2, 0.3], lon, lat)

    def plot(at, *more):
        arguments = ["plot", "2018-07-02/2018-07-03", f"--at={at[0]},{at[1]}", "--out", str(tmp_path / "s.png"), *more]
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == 0, done.output
        return drawn[-1]

    of = ("--project", str(project.folder))
    found = plot((lon, lat), *of)
    assert found["site"].to_list() == ["NET.A"] * 2
    assert found["sm"].to_list() == pytest.approx([0.2, 0.3])
    assert plot((lon + 0.05, lat), *of) is None
    assert plot((lon, lat), "--catalog", str(project.folder)) is None


def test_a_map_names_the_coarse_inputs_that_its_items_are_made_from():
    folder = Path(__file__).parents[1] / "support/project_4977fae/project"
    catalog = open_catalog(folder)
    item = catalog.items("sm-1km-daily", period=Period.parse("2019-03-03"))[0]
    found = pictures.coarse_inputs(catalog, pictures.Picture("2019-03-03", bbox=tuple(item.bbox)))
    assert found["era5-land"] == "0.1 degrees"
    assert found["esa-cci-sm"] == "0.25 degrees"
    assert not {"glass-lst", "cop-dem", "soilgrids", "climatology"} & set(found)
    note = pictures.coarse_inputs_note({"era5-land": "0.1 degrees"})
    assert note == "cells that show are those of coarse inputs: era5-land (0.1 degrees)"
    assert pictures.coarse_inputs_note({}) == ""


@pytest.mark.parametrize("other", [False, True])
def test_plot_repeats_the_place_in_words(project, tmp_path, monkeypatch, other):
    """With the tile there, where the grid is known: a swap of the two axes is seen."""
    for kind in ("map", "series"):
        monkeypatch.setattr(pictures, f"plot_{kind}", lambda *_, **__: None)
    lon, lat = transformer_to_lonlat(SMALL.crs).transform(*(SMALL.geobox("h01v01").affine @ (30.5, 30.5)))
    of = ("--catalog" if other else "--project", str(project.folder))
    box = f"{lon - 0.05:.2f},{lat - 0.02:.2f},{lon + 0.05:.2f},{lat + 0.02:.2f}"
    said = []
    for place in (("--bbox", box), ("--at", f"{lon:.3f},{lat:.3f}")):
        done = CliRunner().invoke(main, ["plot", "2018-07-02", *place, "--out", str(tmp_path / "x.png"), *of])
        assert done.exit_code == 0, done.output
        said.append(done.stderr.splitlines()[0].partition("; "))
    west, south, east, north = (f"{float(one):g}" for one in box.split(","))
    assert said[0][0] == f"box: west {west}, south {south}, east {east}, north {north}"
    assert said[1][0] == f"point: longitude {round(lon, 3):g}, latitude {round(lat, 3):g}"
    assert all(("h01v01" in tiles) is not other for _, _, tiles in said)


def test_plot_says_what_is_missing(project, tmp_path):
    def said(*arguments):
        done = CliRunner().invoke(main, ["plot", *arguments, "--project", str(project.folder)])
        assert done.exit_code != 0
        return done.stderr

    assert "stac-sm mosaic" in said("2018-07-01")
    assert "one day is required" in said("2018-07", "--tile", "h01v01")
    assert "give one of" in said("2018-07", "--tile", "h01v01", "--at", "1,2")
    assert "LON,LAT" in said("2018-07", "--at", "here")
