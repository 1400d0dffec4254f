"""SoilGrids 2.0: soil properties at six depths, 250 m, on the Interrupted Goode Homolosine or in degrees.

A file or band holds one property at one depth, by its name or the description of the band. Integers are kept as they
are; the scale makes % of g/kg, kg dm-3 of cg/cm3, g/kg of dg/kg and pH of pH x 10. An item is one property at one
depth on one window; the asset's key is the property, with the depth behind it unless it is 0-5 cm. `formats.vrt` reads
mosaics of tiles, here or on the web.

The provider's web service stores gaps as 0 and does not say so. Bulk density, carbon and pH are never 0. Sand, silt or
clay may be: a 0 is a value where the three sum to 1000 g/kg, and a gap elsewhere, so the other two are looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from affine import Affine

from stac_sm.core.errors import GranuleError, InputError
from stac_sm.core.fingerprint import digest
from stac_sm.core.grid import make_geobox
from stac_sm.core.homolosine import HOMOLOSINE, NORTH, PIXEL, SHAPE, WEST, degrees_grid, split_at_lobes
from stac_sm.core.period import Period, utc_instant
from stac_sm.core.projections import crs_wkt, transformer_from_lonlat
from stac_sm.core.variables import VARIABLES, Variable
from stac_sm.ingest.file_content import FileContent
from stac_sm.ingest.formats.vrt import Box, MosaicTile, TileMosaic, geotiff_mosaics, vrt_mosaic
from stac_sm.ingest.provider_interface import Download, Granule, HeldAsset, RasterLayer, Recognition, ScannedFile
from stac_sm.raster.cog import CogProfile
from stac_sm.raster.resample import TargetPixels, source_window
from stac_sm.stac.items import raster_item
from stac_sm.storage.http.documents import FileUrl, fetch_file, validators
from stac_sm.storage.store import sha256

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

Source = Path | FileUrl
BBox = tuple[float, float, float, float]
"""West, south, east, north in degrees."""

SCALES = {"sand": 0.1, "silt": 0.1, "clay": 0.1, "bdod": 0.01, "soc": 0.1, "phh2o": 0.1}
"""Physical value = stored value x scale, by property."""

DEPTHS = ("0-5cm", "5-15cm", "15-30cm", "30-60cm", "60-100cm", "100-200cm")
"""Standard depths; the first is that of the recipe, and assets of it are named by the property alone."""

NODATA, DTYPE = -32768, "int16"
SAMPLED = Period(date(1905, 4, 1), date(2016, 7, 6))
"""Days on which the soil profiles were described that the maps are made of."""

_TEXTURE, _WHOLE, _ABOUT = ("sand", "silt", "clay"), 1000, 20  # stored values sum to 1000 g/kg, but for rounding
_ALIASES = {
    "sand": "sand", "silt": "silt", "clay": "clay", "bdod": "bdod", "bulk[-_. ]?density": "bdod", "bd": "bdod",
    "soc": "soc", "(?:soil[-_. ])?organic[-_. ]?carbon": "soc", "oc": "soc", "ph[-_. ]?(?:h2o)?": "phh2o",
}  # fmt: skip
_OTHERS = ("cec", "cfvo", "nitrogen", "ocd", "ocs", "wrb", "wv0010", "wv0033", "wv1500")
_TYPES = ("int16", "uint16", "int32", "float32", "float64")
_LARGEST = 1 << 28  # pixels of one item: half a gigabyte, a box of about 37 degrees
_OFF = 0.01  # of a pixel: how far a grid may be from that of the global mosaic
_EXPECTED = (
    "a property and a depth as in sand_0-5cm_mean.tif or Clay_5_15.tif, or sand_0-5cm_mean/tileSG-…/tileSG-….tif"
)


@dataclass(frozen=True)
class _Named:
    """What a name says; empty where it says nothing."""

    quantity: str = ""
    """Property as the provider calls it, e.g. ``phh2o``."""

    depth: str = ""
    """E.g. ``0-5cm``."""

    statistic: str = ""
    """E.g. ``mean`` or ``Q0.5``."""

    @classmethod
    def of(cls, name: str) -> _Named:
        """Read the name of a file, folder or band; of several properties or depths in it none counts."""
        text = name.lower()
        match = re.search(r"(?<![a-z0-9])(mean|uncertainty|q0?[._]?(?:05|95|50|5))(?![a-z0-9])", text)
        if match and match[1].startswith("q"):
            text = text.replace(match[0], "_")  # its digits are no depth
        pairs = re.findall(r"(?<![0-9])(\d+)(?:cm)?(?:[-_. ]|_?to_?)(?=(\d+)(?![0-9])(cm)?)", text)
        sure = {f"{top}-{bottom}cm" for top, bottom, unit in pairs if unit}
        depths = sure or {found for top, bottom, _ in pairs if (found := f"{top}-{bottom}cm") in DEPTHS}
        word = r"(?<![a-z])(?:{})(?:mean|content)?(?![a-z])"
        known = {name for alias, name in _ALIASES.items() if re.search(word.format(alias), text)}
        known |= {name for name in _OTHERS if re.search(word.format(name), text)}
        given = name[match.start(1) : match.end(1)] if match else ""
        return cls(known.pop() if len(known) == 1 else "", depths.pop() if len(depths) == 1 else "", given)

    def filled(self, other: _Named) -> _Named:
        """Return this with what another name says where this one says nothing."""
        return _Named(self.quantity or other.quantity, self.depth or other.depth, self.statistic or other.statistic)

    @property
    def complete(self) -> bool:
        """Whether it says property and depth."""
        return bool(self.quantity and self.depth)


@dataclass(frozen=True)
class _Layer:
    """One property at one depth, in a band of a file or mosaic."""

    quantity: str
    """Property as the provider calls it."""

    depth: str
    """One of `DEPTHS`."""

    mosaic: TileMosaic
    """Where its pixels are."""

    geobox: GeoBox
    """Grid: pixels of the global mosaic where they are, so that windows of several files fit together."""

    @property
    def key(self) -> str:
        """Key of the asset."""
        return _key(self.quantity, self.depth)

    @property
    def variable(self) -> Variable:
        """The quantity at this depth."""
        known = VARIABLES[self.quantity]
        return replace(known, name=self.key, description=known.description.replace("0-5 cm", self.depth[:-2] + " cm"))

    def item_id(self, box: Box, name: str | None = None) -> str:
        """Return the id of an item of a property (this one by default) on a part of the grid."""
        return f"soilgrids-{_key(name or self.quantity, self.depth)}-{_window_name(self.window(box))}"

    def window(self, box: Box) -> GeoBox:
        """Return the grid of a part."""
        return self.geobox[box[0] : box[2], box[1] : box[3]]


def _key(name: str, depth: str) -> str:
    return name if depth == DEPTHS[0] else f"{name}_{depth}"


@dataclass(frozen=True)
class SoilGrids:
    """Properties at the standard depths: GeoTIFFs of WebDAV, WCS and clients, tiles and VRTs, here or on the web."""

    collection: str = "soilgrids"
    """Id of the STAC collection."""

    bbox: BBox | None = None
    """West, south, east, north in degrees of the part that is read; None for all, where that is not too much."""

    patterns: tuple[str, ...] = (
        "*[0-9]cm_mean*.tif", "*[0-9]cm_mean*.vrt", "*[0-9]cm.tif", "*_0_5.tif", "*_5_15.tif", "*_15_30.tif",
        "*_30_60.tif", "*_60_100.tif", "*_100_200.tif", "tileSG-*.tif",
    )  # fmt: skip
    """Names of its files; others are taken where they are named one by one."""

    downloads: ClassVar[tuple[Download, ...]] = (
        Download(
            "SoilGrids, 0-5 cm, mean, 250 m", "soilgrids", ("sand", "silt", "clay"), "none", "2.0", pixels=4448**2,
            bytes_a_pixel=6, times=1,
        ),
    )  # fmt: skip
    """What to download."""

    def __post_init__(self) -> None:
        if self.bbox is None:
            return
        west, south, east, north = self.bbox if len(self.bbox) == 4 else (0, 0, 0, 0)
        if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
            found = list(self.bbox)
            raise InputError(f"[sources.soilgrids] bbox: found {found}, west, south, east, north in degrees expected")

    def scan(self, file: Path) -> ScannedFile:
        """Return what the part of the file in ``bbox`` holds: an item a property and depth, or one a lobe of those."""
        return self.scan_beside(file, (), lambda collection, id, key: None)

    def scan_url(self, url: FileUrl) -> ScannedFile:
        """Return the items of a mosaic or GeoTIFF on the web."""
        return self.scan_beside(url, (), lambda collection, id, key: None)

    def scan_beside(self, file: Source, others: Sequence[Source], held: HeldAsset) -> ScannedFile:
        """Return the items of a file; where sand, silt or clay is 0, the other two are looked for.

        They are taken from the file itself, from other files of the call, or else from the catalogue.
        """
        layers, notes = _layers(file)
        parts = [(layer, box) for layer in layers for box in self._boxes(layer)]
        if not parts:
            return ScannedFile([], (*notes, f"lies outside bbox = {list(self.bbox or ())}: left out"))
        search = partial(self._companion, [file, *others], held)
        return ScannedFile([self._granule(layer, box, search, notes) for layer, box in parts], notes)

    def claims(self, file: Source) -> list[str]:
        """Return the ids of the items of a file, and what sand, silt and clay of one window have in common."""
        parts = [(layer, box) for layer in _layers(file)[0] for box in self._boxes(layer)]
        shared = {layer.item_id(box, "texture") for layer, box in parts if layer.quantity in _TEXTURE}
        return [*(layer.item_id(box) for layer, box in parts), *sorted(shared)]

    def recognises(self, content: FileContent) -> Recognition | None:
        """Return whether a file is a map of a property.

        The grid tells that it may be one, the description of a band or the name which property and depth.
        """
        raster = content.raster
        if raster is None and content.file.suffix.lower() not in (".tif", ".tiff", ".vrt"):
            return None
        named = _names(content.file)
        bands = [_Named.of(text).filled(named) for text in raster.descriptions] if raster is not None else []
        said = next((one for one in bands if one.complete and one.quantity in SCALES), named)
        ours = raster is not None and bool(raster.crs) and _is_homolosine(raster.crs)
        if not ours and not said.complete:
            return None
        alike = (
            raster is not None and set(raster.dtypes) <= set(_TYPES) and bool(raster.crs) and _is_degrees(raster.crs)
        )
        product, by_name = "SoilGrids", not (ours or alike)
        if problem := _problem(said, content.file, max(1, len(bands))):
            return Recognition(product, by_name=by_name, refusal=problem, left_out=said.complete)
        return Recognition(f"{product} ({_key(said.quantity, said.depth)})", by_name=by_name)

    def parts(self, file: Path) -> Sequence[Path]:
        """Return a VRT with those of its tiles that are read; the VRT for a tile that has one."""
        vrt = _vrt_above(file)
        if vrt is not None or file.suffix != ".vrt":
            return [vrt or file]
        try:
            tiles = sorted({Path(tile.href) for tile in self._tiles(_layers(file)[0])})
        except GranuleError:  # it is reported when the file is scanned
            return [file]
        return [file, *(tile for tile in tiles if tile.is_file())]

    def url_checksum(self, url: FileUrl) -> str:
        """Return a digest of a VRT and the state of the tiles that are read, by the server; or of a GeoTIFF's state."""
        from concurrent.futures import ThreadPoolExecutor

        if not url.name.endswith(".vrt"):
            return digest(validators(url))
        content = fetch_file(url)
        found = self._tiles(_layers(url, content)[0])
        tiles = [FileUrl(tile.href.removeprefix("/vsicurl/")) for tile in found]
        with ThreadPoolExecutor(8) as pool:
            states = dict(zip(map(str, tiles), pool.map(validators, tiles), strict=True))
        return digest([content.decode(errors="replace"), states])

    def _granule(self, layer: _Layer, box: Box, search: Companion, notes: list[str]) -> Granule:
        geobox, mosaic, variable = layer.window(box), layer.mosaic, layer.variable
        try:
            item = raster_item(
                id=layer.item_id(box),
                collection=self.collection,
                geobox=geobox,
                start=utc_instant(SAMPLED.start),
                end=utc_instant(SAMPLED.end),
            )
        except InputError as error:
            raise GranuleError(f"{mosaic.name}: {error}") from error
        read, choices = partial(_values, layer, box, search, notes), {}
        if not mosaic.nodata:  # none, or 0: most have gaps, and which are decides about the item
            stored, gaps = _without_zeros(layer, box, search, notes)
            read = partial(np.copy, stored)
            choices = {"gaps": sha256(np.packbits(gaps).tobytes())} if gaps.any() else {}
        values = RasterLayer(variable, read, geobox, CogProfile(nodata=NODATA, scale=SCALES[layer.quantity]))
        return Granule(item, {layer.key: values}, mosaic.rank, choices=choices)

    def _companion(self, files: Sequence[Source], held: HeldAsset, layer: _Layer, box: Box, name: str) -> Stored | None:
        """Return stored values (y, x) of another property on the same window; None where there are none."""
        place = layer.item_id(box, name)
        for file in files:
            try:
                layers = _layers(file)[0]
            except GranuleError:  # it is reported when the file is scanned
                continue
            for one in layers:
                if (one.quantity, one.depth) == (name, layer.depth):
                    part = next((found for found in self._boxes(one) if one.item_id(found) == place), None)
                    if part is not None:
                        return _stored(one, part)
        content = held(self.collection, place, _key(name, layer.depth))
        return None if content is None else _decoded(content)

    def _tiles(self, layers: Sequence[_Layer]) -> list[MosaicTile]:
        """Return the tiles that are read."""
        return list(
            dict.fromkeys(tile for layer in layers for box in self._boxes(layer) for tile in layer.mosaic.tiles_in(box))
        )

    def _boxes(self, layer: _Layer) -> list[Box]:
        """Return the parts of a layer that are read: one for each lobe of the projection."""
        geobox, mosaic = layer.geobox, layer.mosaic
        whole = (slice(0, mosaic.shape[0]), slice(0, mosaic.shape[1]))
        cut = split_at_lobes if _is_projected(geobox) else _whole
        pieces = [] if self.bbox is None else cut(*self.bbox)
        windows = [source_window(geobox, TargetPixels(degrees_grid(piece))) for piece in pieces] if pieces else [whole]
        boxes = [(rows.start, columns.start, rows.stop, columns.stop) for rows, columns in filter(None, windows)]
        for top, left, bottom, right in boxes:
            if (bottom - top) * (right - left) > _LARGEST:
                raise GranuleError(
                    f"{mosaic.name}: {bottom - top} x {right - left} pixels found, at most {_LARGEST} expected: "
                    "set a smaller bbox = [west, south, east, north] under [sources.soilgrids]"
                )
        return [box for box in boxes if mosaic.tiles_in(box)] or boxes  # a lobe without tiles is sea


Stored = np.ndarray
"""Stored values (y, x), int16, with gaps as `NODATA`."""

Companion = Callable[[_Layer, Box, str], "Stored | None"]
"""Return the stored values of another property on the window of a layer; None where there are none."""


def _values(layer: _Layer, box: Box, search: Companion, notes: list[str]) -> Stored:
    return _without_zeros(layer, box, search, notes)[0]


def _without_zeros(layer: _Layer, box: Box, search: Companion, notes: list[str]) -> tuple[Stored, np.ndarray]:
    """Read stored values (y, x), int16, without zeros that are gaps, and which these are.

    Raises
    ------
    GranuleError
        If values are impossible, or all are missing; if it takes other files to tell which zeros are gaps.
    """
    stored = _stored(layer, box)
    gaps = _gaps(layer, box, stored, search)
    if gaps.any():
        stored[gaps] = NODATA
        why = "the three do not sum to 1000 g/kg" if layer.quantity in _TEXTURE else "it is never 0"
        notes.append(f"{layer.item_id(box)}: {int(gaps.sum())} of {gaps.size} pixels of 0 are gaps, since {why}")
    _check_values(layer, stored)
    return stored, gaps


def _stored(layer: _Layer, box: Box) -> Stored:
    """Read stored values (y, x), int16, gaps as `NODATA`; a 0 stays, even where the file calls it a gap.

    Numbers with decimals may be in the units that people use (%, kg dm-3, g/kg, pH), as soilDB has them.
    """
    mosaic = layer.mosaic
    unmarked = 0 if mosaic.dtype.startswith("u") else NODATA  # of what no tile covers
    nodata = unmarked if mosaic.nodata is None else mosaic.nodata
    read = mosaic.read(box, nodata)
    gap = np.isnan(read) | (read == nodata) | (read == NODATA) if nodata else read == NODATA
    values = np.where(gap, 0, read)
    if values.dtype.kind == "f":
        values = _as_stored(layer, values)
    if values.max() > np.iinfo(DTYPE).max or values.min() < np.iinfo(DTYPE).min:
        raise GranuleError(
            f"{mosaic.name}: {layer.key} from {values.min():g} to {values.max():g} found: is it damaged?"
        )
    return np.asarray(np.where(gap, NODATA, values).astype(DTYPE))


def _as_stored(layer: _Layer, values: np.ndarray) -> np.ndarray:
    """Return numbers with decimals as the provider stores them; refuse those whose unit nothing tells."""
    quantity, scale, name = layer.quantity, SCALES[layer.quantity], layer.mosaic.name
    if values.max() > VARIABLES[quantity].valid[1]:  # too much for the units that people use
        return values.round()
    whole = _near(values)
    if _near(values / scale) and not whole:
        return (values / scale).round()
    if whole and (quantity == "soc" or not values.any()):  # g/kg of carbon are not whole at every pixel
        return values.round()
    raise GranuleError(
        f"{name}: found numbers up to {values.max():g} as {layer.mosaic.dtype}, which may be {layer.variable.unit} or "
        f"integers of the provider, {1 / scale:g} times as large: write it in these integers"
    )


def _near(values: np.ndarray) -> bool:
    """Return whether all numbers are whole, but for what float32 loses."""
    return bool(np.all(np.abs(values - values.round()) < 1e-3))


def _gaps(layer: _Layer, box: Box, stored: Stored, search: Companion) -> np.ndarray:
    """Return which values of 0 are gaps, (y, x), bool."""
    zero = np.asarray(stored == 0)
    if layer.quantity not in _TEXTURE or not zero.any():
        return zero
    names = [name for name in _TEXTURE if name != layer.quantity]
    found = {name: search(layer, box, name) for name in names}
    missing = [_key(name, layer.depth) for name, values in found.items() if values is None]
    if missing:
        raise GranuleError(
            f"{layer.mosaic.name}: {int(zero.sum())} of {zero.size} pixels of {layer.key} are 0 found, which are gaps "
            f"unless sand, silt and clay sum to 1000 g/kg: {' and '.join(missing)} of {layer.depth} on the same window "
            "are required to tell: ingest the files of all three in one call"
        )
    parts = [values.astype(np.int32) for values in found.values() if values is not None]
    known = (parts[0] != NODATA) & (parts[1] != NODATA)
    return np.asarray(zero & ~(known & (np.abs(parts[0] + parts[1] - _WHOLE) <= _ABOUT)))


def _check_values(layer: _Layer, stored: Stored) -> None:
    """Check that values are possible, and not all missing."""
    name, known = layer.quantity, stored[stored != NODATA]
    if not known.size:
        raise GranuleError(f"{layer.mosaic.name}: not one pixel with a value found, land expected: choose another part")
    low, high = (round(value / SCALES[name]) for value in VARIABLES[name].valid)
    if known.min() < low or known.max() > high:
        raise GranuleError(
            f"{layer.mosaic.name}: {name} from {known.min()} to {known.max()} found, {low} to {high} expected, "
            f"nodata {NODATA}: is it another property, or in other units?"
        )


def _decoded(content: bytes) -> Stored:
    """Return the stored values of an asset of the catalogue."""
    import rasterio

    with rasterio.MemoryFile(content) as file, file.open(driver="GTiff") as data:
        return np.asarray(data.read(1))


def _layers(file: Source, content: bytes | None = None) -> tuple[list[_Layer], list[str]]:
    """Return the layers of a file, and notes on bands that are left out.

    Parameters
    ----------
    file
        A GeoTIFF, a VRT or a tile.
    content
        Of a VRT on the web, if it is known already.

    Raises
    ------
    GranuleError
        If it has none: says why.
    """
    mosaics = _mosaics(file, content)
    named = _names(file)
    layers, notes = [], []
    for mosaic in mosaics:
        said = _Named.of(mosaic.description).filled(named)
        problem = _problem(said, file, len(mosaics))
        if not problem:
            layers.append(_Layer(said.quantity, said.depth, mosaic, _geobox(mosaic)))
        elif len(mosaics) == 1:
            raise GranuleError(f"{file}: {problem}")
        else:
            notes.append(f"band {mosaic.band} {mosaic.description!r}: {problem}")
    if not layers:
        raise GranuleError(f"{file}: found {len(mosaics)} bands, none that can be used: {'; '.join(notes)}")
    keys = [layer.key for layer in layers]
    if len(set(keys)) < len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise GranuleError(
            f"{file}: found {len(mosaics)} bands, {twice} in several; one is expected: describe each band by property "
            "and depth, or write a file a band"
        )
    return layers, notes


def _names(file: Source) -> _Named:
    """Return what a file is by its own name, or of a tile by that of the mosaic's folder around it."""
    name = file.name
    if not re.fullmatch(r"tileSG-[\d-]+(_\d-\d)?\.tif", name):
        return _Named.of(re.sub(r"\.(tiff?|vrt)$", "", name, flags=re.IGNORECASE))
    folders = (Path(file.text) if isinstance(file, FileUrl) else file.absolute()).parent.parts[:-3:-1]
    return next((found for folder in folders if (found := _Named.of(folder)).complete), _Named())


def _problem(said: _Named, file: Source, bands: int) -> str:
    """Return why a layer cannot be used; empty if it can."""
    if said.quantity and said.quantity not in SCALES:
        return f"found the property {said.quantity!r}, expected one of {', '.join(SCALES)}: leave it out"
    if not said.complete:
        what = f"the name {file.name}" if bands == 1 else f"{bands} bands, one without property or depth"
        return f"found {what}, expected {_EXPECTED}: rename it, or is it another product?"
    if said.statistic not in ("", "mean"):
        return f"found {said.statistic} of {said.depth}, expected the mean: leave it out"
    if said.depth not in DEPTHS:
        return f"found the depth {said.depth}, expected one of {', '.join(DEPTHS)}: leave it out"
    return ""


def _mosaics(file: Source, content: bytes | None) -> list[TileMosaic]:
    if isinstance(file, FileUrl):
        if file.name.endswith(".vrt"):
            return [vrt_mosaic(str(file), fetch_file(file) if content is None else content, _folder(file))]
        return [replace(one, name=str(file)) for one in geotiff_mosaics(file.href)]
    if file.suffix.lower() != ".vrt":
        return geotiff_mosaics(str(file))
    try:
        return [vrt_mosaic(str(file), file.read_bytes(), str(file.parent.absolute()))]
    except OSError as error:
        raise GranuleError(f"{file}: cannot be read ({error}): check the file") from error


def _folder(url: FileUrl) -> str:
    return url.href.rpartition("/")[0]


def _vrt_above(file: Path) -> Path | None:
    """Return the VRT beside the mosaic's folder that a tile lies in."""
    if not file.name.startswith("tileSG-"):
        return None
    beside = (folder.with_name(f"{folder.name}.vrt") for folder in list(file.parents)[:2] if folder.name)
    return next((vrt for vrt in beside if vrt.is_file()), None)


def _geobox(mosaic: TileMosaic) -> GeoBox:
    """Return the grid of a mosaic: pixels of the global one where it is on that, or else as it is."""
    projected = _is_homolosine(mosaic.crs)
    if not projected and not _is_degrees(mosaic.crs):
        raise GranuleError(
            f"{mosaic.name}: found the CRS {mosaic.crs[:60] or None!r}, expected {HOMOLOSINE} or EPSG:4326: ask the "
            "server for one of them"
        )
    if mosaic.dtype not in _TYPES:
        found = f"{mosaic.dtype} with nodata {mosaic.nodata}"
        raise GranuleError(f"{mosaic.name}: found {found}, expected {DTYPE} with nodata {NODATA}: fetch it again")
    affine = mosaic.affine
    if affine.b or affine.d or not (affine.a > 0 > affine.e):
        raise GranuleError(
            f"{mosaic.name}: found the transform {tuple(affine)[:6]}, expected one with north up: warp it, or ask the "
            "server for such a window"
        )
    if not projected:
        return _in_degrees(mosaic)
    column, row = (affine.c - WEST) / PIXEL, (NORTH - affine.f) / PIXEL
    off = [abs(affine.a / PIXEL - 1) * mosaic.shape[1], abs(affine.e / PIXEL + 1) * mosaic.shape[0]]
    if max(*off, abs(column - round(column)), abs(row - round(row))) > _OFF:
        return make_geobox(mosaic.shape, affine, crs_wkt(HOMOLOSINE))
    column, row = round(column), round(row)
    if min(row, column) < 0 or row + mosaic.shape[0] > SHAPE[0] or column + mosaic.shape[1] > SHAPE[1]:
        raise GranuleError(
            f"{mosaic.name}: its rows {row} to {row + mosaic.shape[0]} and columns {column} to "
            f"{column + mosaic.shape[1]} lie off the {SHAPE[0]} x {SHAPE[1]} of the mosaic: fetch it again"
        )
    placed = Affine(PIXEL, 0, WEST + column * PIXEL, 0, -PIXEL, NORTH - row * PIXEL)
    return make_geobox(mosaic.shape, placed, crs_wkt(HOMOLOSINE))


def _in_degrees(mosaic: TileMosaic) -> GeoBox:
    geobox = make_geobox(mosaic.shape, mosaic.affine, "EPSG:4326")
    west, south, east, north = geobox.boundingbox
    if west < -180 - mosaic.affine.a or east > 180 + mosaic.affine.a or south < -90 or north > 90:
        raise GranuleError(
            f"{mosaic.name}: found {west:g}, {south:g}, {east:g}, {north:g} in degrees, which lies off the Earth: is "
            "its CRS right?"
        )
    return geobox


def _is_degrees(crs: str) -> bool:
    """Return whether a CRS is longitude and latitude of WGS 84, whatever its name."""
    import pyproj

    lon, lat = np.array([-150.0, 20.0, 100.0]), np.array([-30.0, 10.0, 60.0])
    try:
        found = transformer_from_lonlat(crs_wkt(crs)).transform(lon, lat)
        geographic = pyproj.CRS(crs).is_geographic
    except pyproj.exceptions.ProjError:
        return False
    return bool(geographic and np.allclose(found, (lon, lat), rtol=0, atol=1e-6))


def _is_projected(geobox: GeoBox) -> bool:
    return geobox.crs is not None and bool(geobox.crs.projected)


def _is_homolosine(crs: str) -> bool:
    """Return whether a CRS puts places where the Homolosine does: its name and code differ from file to file."""
    import pyproj

    lon, lat = np.array([-150.0, -70.0, 20.0, 150.0, -60.0, 10.0]), np.array([-30.0, -50.0, -10.0, -45.0, 55.0, 30.0])
    try:
        found = transformer_from_lonlat(crs_wkt(crs)).transform(lon, lat)
    except pyproj.exceptions.ProjError:
        return False
    return bool(np.allclose(found, transformer_from_lonlat(crs_wkt(HOMOLOSINE)).transform(lon, lat), rtol=0, atol=1e-3))


def _window_name(geobox: GeoBox) -> str:
    """Name the place of a window.

    ``r{row}c{column}-{rows}x{columns}`` in the global mosaic. On another grid the corner, in degrees or m, rows and
    columns, and digits that tell pixel sizes apart.
    """
    affine, (rows, columns) = geobox.affine, geobox.shape
    if not _is_projected(geobox):
        ew, ns = ("w" if affine.c < 0 else "e"), ("n" if affine.f >= 0 else "s")
        return f"{ew}{abs(affine.c):.4f}{ns}{abs(affine.f):.4f}-{rows}x{columns}-{_digits(affine)}"
    row, column = (NORTH - affine.f) / PIXEL, (affine.c - WEST) / PIXEL
    if (affine.a, affine.e, row % 1, column % 1) == (PIXEL, -PIXEL, 0, 0):
        return f"r{round(row)}c{round(column)}-{rows}x{columns}"
    return f"x{affine.c:.0f}y{affine.f:.0f}-{rows}x{columns}-{_digits(affine)}"


def _digits(affine: Affine) -> str:
    return digest([float(f"{value:.9g}") for value in tuple(affine)[:6]])[:6]


def _whole(west: float, south: float, east: float, north: float) -> list[BBox]:
    return [(west, south, east, north)]
