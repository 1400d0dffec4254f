"""HDF4-EOS files for tests, made from a real MOD11A1: no GLASS, MOD15A2H or MCD43A3 may be had here as HDF.

Its StructMetadata.0 is taken over word for word, but for the names of the fields and the number of pixels; so the tile
is that of the real file, h14v09, and the corners are those that NASA wrote.
"""

from __future__ import annotations

import re
from functools import cache

import numpy as np

from tests.support.source_files import MOD11A1, placed

TILE = "h14v09"


@cache
def real_structure() -> str:
    from pyhdf.SD import SD

    file = SD(str(MOD11A1))
    text = file.attributes()["StructMetadata.0"]
    file.end()
    return text.rstrip("\0 ")


def structure_of(names, side=1200):
    """The real StructMetadata.0 with other fields and another number of pixels."""
    objects = [
        f'\t\t\tOBJECT=DataField_{i}\n\t\t\t\tDataFieldName="{name}"\n\t\t\tEND_OBJECT=DataField_{i}\n'
        for i, name in enumerate(names, 1)
    ]
    text = re.sub(r"(?s)(GROUP=DataField\n).*(\t\tEND_GROUP=DataField\n)", rf"\1{''.join(objects)}\2", real_structure())
    return re.sub(r"([XY]Dim)=\d+", rf"\1={side}", text)


def stored(path, name):
    """Values of a field as pyhdf reads them."""
    from pyhdf.SD import SD

    file = SD(str(path))
    values = file.select(name).get()
    file.end()
    return values


def write_fields(path, fields, text=None):
    """Fields by name: values, and attributes by name; a float attribute is a FLOAT64, others have the field's type."""
    from pyhdf.SD import SD, SDC

    kinds = {"uint8": SDC.UINT8, "uint16": SDC.UINT16, "int16": SDC.INT16, "float32": SDC.FLOAT32}
    file = SD(str(path), SDC.WRITE | SDC.CREATE | SDC.TRUNC)
    file.attr("StructMetadata.0").set(SDC.CHAR, text or structure_of(fields, next(iter(fields.values()))[0].shape[0]))
    for name, (values, attributes) in fields.items():
        kind = kinds[str(values.dtype)]
        field = file.create(name, kind, values.shape)
        field.setcompress(SDC.COMP_DEFLATE, 1)
        field[:] = values
        for key, value in attributes.items():
            field.attr(key).set(SDC.FLOAT64 if isinstance(value, float) else kind, value)
        field.endaccess()
    file.end()
    return path


def lst_fields(values=None):
    """Fields of MOD11A1 with the attributes of the real one."""
    values = placed((1200, 1200), np.uint16) + np.uint16(14000) if values is None else values
    flags = placed((1200, 1200), np.uint8)
    scaled = {"_FillValue": 0, "scale_factor": 0.02}
    return {
        "LST_Day_1km": (values, scaled), "QC_Day": (flags, {}), "LST_Night_1km": (values, scaled),
        "QC_Night": (flags, {}),
    }  # fmt: skip


def lai_fields(values, flags=None):
    """Fields of MOD15A2H."""
    flags = placed(values.shape, np.uint8) if flags is None else flags
    return {
        "Lai_500m": (values, {"_FillValue": 255, "scale_factor": 0.1, "add_offset": 0.0}),
        "FparLai_QC": (flags, {"_FillValue": 255}),
    }


def mcd43_fields(side=2400):
    """Fields of MCD43A3; every fourth row has no value."""
    fields = {}
    for index, name in enumerate(
        f"Albedo_{sky}_{band}" for sky in ("BSA", "WSA") for band in ("vis", "nir", "shortwave")
    ):
        values = placed((side, side), np.int16, seed=index)
        values[::4] = 32767
        fields[name] = (values, {"_FillValue": 32767, "scale_factor": 0.001, "add_offset": 0.0})
    quality = placed((side, side), np.uint8) % np.uint8(2)
    quality[::4] = 255
    return {**fields, "BRDF_Albedo_Band_Mandatory_Quality_shortwave": (quality, {"_FillValue": 255})}


ALBEDO = [f"ABD_{sky}_{band}" for sky in ("BSA", "WSA") for band in ("VIS", "NIR", "shortwave")]


def albedo_values(side, seed=0):
    """Stored albedo: values of 0 to 10000 that know where they are, and everything that means no data."""
    values = placed((side, side), np.int16, seed) * np.int16(39) + np.int16(150)
    values[3, 5:9] = [-1, -2, -9999, -32768]
    values[4, 5:9] = [10001, 32767, 0, 10000]
    return values


def albedo_fields(side=1200, quality=None):
    """Fields of GLASS02A06, and with a quality those of GLASS02E01."""
    attributes = {"_FillValue": -1, "scale_factor": 0.0001, "add_offset": 0.0}
    fields = {name: (albedo_values(side, seed), attributes) for seed, name in enumerate(ALBEDO)}
    return (
        fields
        if quality is None
        else {**fields, "ABD_QA_shortwave": (quality, {"_FillValue": int(np.iinfo(quality.dtype).max)})}
    )
