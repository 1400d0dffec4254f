"""Searches over rows: held against a plain loop over the items, and filters against the cql2 library's own."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from typing import Any

import cql2
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import box, shape

from stac_sm.serve import query as question
from stac_sm.serve.cql2 import matches
from stac_sm.serve.cql2_text import parse_text
from stac_sm.serve.errors import BadRequestError
from stac_sm.serve.item_columns import ItemColumns, join_item_tables
from stac_sm.serve.openapi import POST_SEARCH
from stac_sm.serve.query import query_from_body, query_from_parameters
from stac_sm.serve.search import check_names, find_page, matching_rows, token_of
from stac_sm.stac.index.shard import parse_indexed_item, shard_bytes, sort_shard_items
from stac_sm.stac.items import item_folder, item_json
from tests.support.examples import examples
from tests.support.served import LAYOUTS, made_items, random_filter, random_search

ITEMS = made_items(400)
BY_ID = {item["id"]: item for item in ITEMS}
EVERY = range(len(ITEMS))


@cache
def rows() -> ItemColumns:
    """The items, from shards of different columns."""
    return made_rows(ITEMS)


def made_rows(items: list[dict[str, Any]]) -> ItemColumns:
    import pyarrow.parquet as pq

    parts = []
    for collection in LAYOUTS:
        own = [item for item in items if item["collection"] == collection]
        for half in (own[::2], own[1::2]):
            found = sort_shard_items(parse_indexed_item(path_of(item), item_json(item)) for item in half)
            table = pq.read_table(pa.BufferReader(shard_bytes(found)))
            parts.append(table.append_column("path", pa.array([one.path for one in found], pa.string())))
    return join_item_tables(parts)


def path_of(item: dict[str, Any]) -> str:
    return f"{item_folder(LAYOUTS[item['collection']], item)}/{item['id']}.json"


def ids(found: Any) -> list[str]:
    return rows().column("id").take(pa.array(found)).to_pylist()


def answers(item: dict[str, Any], body: dict[str, Any]) -> bool:
    """Whether an item answers a search, the slow way."""
    told, geometry = item["properties"], shape(item["geometry"])
    first, last = (datetime.fromisoformat(told.get(f"{end}_datetime") or told["datetime"]) for end in ("start", "end"))
    if item["collection"] not in body.get("collections", [item["collection"]]):
        return False
    if item["id"] not in body.get("ids", [item["id"]]):
        return False
    if "bbox" in body and not geometry.intersects(box(*body["bbox"])):
        return False
    if "intersects" in body and not geometry.intersects(shape(body["intersects"])):
        return False
    if "datetime" in body:
        begin, _, end = body["datetime"].partition("/")
        if begin != ".." and last < datetime.fromisoformat(begin):
            return False
        if (end or begin) != ".." and first > datetime.fromisoformat(end or begin):
            return False
    if not all(asked(told.get(name), tests) for name, tests in body.get("query", {}).items()):
        return False
    return "filter" not in body or true_of(body["filter"], item)


def asked(value: Any, tests: dict[str, Any]) -> bool:
    """Whether a value is what the Query extension asks for, by its table of operators."""
    said: dict[str, Any] = {
        "eq": lambda other: value == other, "neq": lambda other: value != other,
        "lt": lambda other: value < other, "lte": lambda other: value <= other,
        "gt": lambda other: value > other, "gte": lambda other: value >= other,
        "startsWith": lambda other: value.startswith(other), "endsWith": lambda other: value.endswith(other),
        "contains": lambda other: other in value, "in": lambda other: value in other,
    }  # fmt: skip
    return value is not None and all(said[operator](other) for operator, other in tests.items())


def true_of(node: dict[str, Any], item: dict[str, Any]) -> bool:
    return truth(node, item) is True


def truth(node: dict[str, Any], item: dict[str, Any]) -> bool | None:
    """A filter of `random_filter`, with the three values of SQL."""
    op, args = node["op"], node["args"]
    if op in {"and", "or"}:
        values = [truth(one, item) for one in args]
        decisive = op == "or"
        return decisive if decisive in values else None if None in values else not decisive
    if op == "not":
        value = truth(args[0], item)
        return None if value is None else not value
    name = args[0]["property"]
    if op == "s_intersects":
        return shape(item["geometry"]).intersects(shape(args[1]))
    value = item["collection"] if name == "collection" else item["properties"].get(name)
    if op == "isNull":
        return value is None
    return None if value is None else compared(op, value, args[1:])


def compared(op: str, value: Any, args: list[Any]) -> bool:
    import re

    if op == "between":
        return args[0] <= value <= args[1]
    if op == "in":
        return value in args[0]
    if op == "like":
        pattern = re.escape(args[0]).replace("%", ".*").replace("_", ".")
        return re.fullmatch(pattern, value, re.DOTALL) is not None
    return {
        "=": value == args[0],
        "<>": value != args[0],
        "<": value < args[0],
        "<=": value <= args[0],
        ">": value > args[0],
        ">=": value >= args[0],
    }[op]


@settings(max_examples=examples(300))
@given(st.integers(0, 10**9))
def test_what_is_found_is_what_a_loop_finds(seed):
    body = random_search(random.Random(seed), ITEMS)
    asked = query_from_body(body)
    wanted = {item["id"] for item in ITEMS if answers(item, body)}
    assert set(ids(matching_rows(rows(), asked))) == wanted
    found = list(walked(body))
    assert len(found) == len(set(found)) == len(wanted)
    keys = [tuple(BY_ID[id]["properties"].get("platform") if "platform" in sort["field"] else id
                  for sort in body["sortby"]) for id in found]  # fmt: skip
    assert is_sorted(keys, [sort["direction"] == "desc" for sort in body["sortby"]])


def walked(body: dict[str, Any]) -> Iterator[str]:
    """Ids over all pages, by tokens."""
    token = ""
    for _ in range(len(ITEMS) + 1):
        page = find_page(rows(), query_from_body(body | ({"token": token} if token else {})))
        assert len(page.rows) <= body["limit"]
        yield from ids(page.rows)
        if not page.more:
            return
        token = token_of(rows(), int(page.rows[-1]))
    raise AssertionError("pages without an end")


def is_sorted(keys: list[tuple[Any, ...]], down: list[bool]) -> bool:
    done = keys
    for position in reversed(range(len(down))):
        done = sorted(done, key=lambda key: key[position], reverse=down[position])
    return done == keys


@settings(max_examples=examples(150))
@given(st.integers(0, 10**9))
def test_filters_are_those_of_the_cql2_library(seed):
    """Where an item has all that is asked for: the library has no null."""
    filter = random_filter(random.Random(seed), depth=1)
    if "isNull" in str(filter):
        return
    expression = cql2.parse_json(__import__("json").dumps(filter))
    found = matches(rows(), filter)
    assert list(matches(rows(), parse_text(expression.to_text()))) == list(found)
    by_id = dict(zip(ids(EVERY), found, strict=True))
    for item in ITEMS:
        flat = {**item, **item["properties"], "properties": item["properties"]}
        if {"value", "grid:code", "platform"} <= set(item["properties"]):
            assert bool(expression.matches(flat)) == by_id[item["id"]], (filter, item["id"])


def test_the_default_order_is_latest_first():
    found = [BY_ID[id]["properties"] for id in ids(find_page(rows(), query_from_body({"limit": 400})).rows)]
    times = [told["datetime"] for told in found]
    assert times == sorted(times, reverse=True)


def test_what_has_no_value_comes_last():
    for direction in ("asc", "desc"):
        body = {"limit": 400, "sortby": [{"field": "properties.value", "direction": direction}]}
        values = [BY_ID[id]["properties"].get("value") for id in ids(find_page(rows(), query_from_body(body)).rows)]
        known = [value for value in values if value is not None]
        assert known == sorted(known, reverse=direction == "desc")
        assert values == known + [None] * (len(values) - len(known))


TEXTS = {
    "casei(platform) = casei('AQUA')": lambda told: told["platform"] == "Aqua",
    "platform like 'aqua\\_2'": lambda told: told["platform"] == "aqua_2",
    "not platform in ('Aqua', 'Terra')": lambda told: told["platform"] not in {"Aqua", "Terra"},
    "datetime >= TIMESTAMP('2019-06-01T00:00:00Z')": lambda told: told["datetime"] >= "2019-06-01T00:00:00Z",
    "datetime = DATE('2020-01-01')": lambda told: told["datetime"].startswith("2020-01-01"),
    "datetime <= DATE('2020-01-01')": lambda told: told["datetime"] < "2020-01-02",
    "datetime > DATE('2020-01-01')": lambda told: told["datetime"] >= "2020-01-02",
    "t_after(datetime, DATE('2020-01-01'))": lambda told: told["datetime"] >= "2020-01-02",
    "t_during(datetime, INTERVAL('2019-06-01','2019-06-30'))": lambda told: (
        "2019-06-01T00:00:00Z" < told["datetime"] < "2019-07-01"
    ),
    "t_intersects(INTERVAL(start_datetime, end_datetime), INTERVAL('2020-01-01','..'))": lambda told: (
        told.get("end_datetime", "") >= "2020"
    ),
    "value > '3'": lambda told: told.get("value", 0) > 3,
    "3 < value": lambda told: told.get("value", 0) > 3,
    "nothing = 1 or value > 3": lambda told: told.get("value", 0) > 3,
    "nothing is null": lambda told: True,
    "not nothing = 1": lambda told: False,
    '"stac_sm:count" = "stac_sm:count" and properties.value < 0': lambda told: told.get("value", 0) < 0,
}


@pytest.mark.parametrize("text", TEXTS)
def test_filters_as_text(text):
    found = {id for id, true in zip(ids(EVERY), matches(rows(), parse_text(text)), strict=True) if true}
    assert found == {item["id"] for item in ITEMS if TEXTS[text](item["properties"])}


DEEP = {"op": "not", "args": [{"op": "isNull", "args": [{"property": "value"}]}]}
for _ in range(100):
    DEEP = {"op": "not", "args": [DEEP]}
BAD_FILTERS = [
    {}, {"op": "and", "args": []}, {"op": "and"}, {"op": 1, "args": []}, {"op": "=", "args": [1, 2]},
    {"op": "=", "args": [{"property": "value"}, "x"]}, {"op": "=", "args": [{"property": "value"}, "nan"]},
    {"op": "=", "args": [{"property": "value"}, "true"]}, {"op": "=", "args": [{"property": "platform"}, 1]},
    {"op": "=", "args": [{"property": "value"}, None]}, {"op": "=", "args": [{"property": "value"}]},
    {"op": "=", "args": [{"property": "value"}, {"property": "platform"}]},
    {"op": "like", "args": [{"property": "value"}, "%"]}, {"op": "like", "args": [{"property": "platform"}, 1]},
    {"op": "in", "args": [{"property": "platform"}, []]}, {"op": "in", "args": [{"property": "platform"}, "Aqua"]},
    {"op": "drop table", "args": []}, {"op": "s_intersects", "args": [{"property": "geometry"}, {"type": "Blob"}]},
    {"op": "s_intersects", "args": [{"property": "value"}, {"type": "Point", "coordinates": [0, 0]}]},
    {"op": "s_intersects", "args": [{"property": "geometry"}, 3]},
    {"op": "t_after", "args": [{"property": "value"}, {"date": "2019-01-01"}]},
    {"op": "t_after", "args": [{"property": "datetime"}, {"date": "yesterday"}]},
    {"op": "=", "args": [{"property": "geometry"}, "x"]}, {"op": "=", "args": [{"property": "datetime"}, 3]},
    {"op": "+", "args": [1, 2]}, {"op": "=", "args": [{"op": "+", "args": [{"property": "value"}, 1]}, 2]},
    {"op": "casei", "args": [{"property": "platform"}]}, {"op": "=", "args": [{"op": "casei", "args": []}, "x"]},
    {"op": "=", "args": [{"op": "casei", "args": [{"property": "value"}]}, "x"]},
    {"op": "and", "args": [{"op": "isNull", "args": [{"property": "a"}]}] * 2000}, DEEP,
]  # fmt: skip


@pytest.mark.parametrize("filter", BAD_FILTERS, ids=lambda filter: str(filter)[:60])
def test_bad_filters_are_bad_requests(filter):
    with pytest.raises(BadRequestError):
        find_page(rows(), query_from_body({"filter": filter, "filter-lang": "cql2-json"}))


@pytest.mark.parametrize(
    "text", ["", "a =", "(" * 50_000, "not " * 5_000 + "a = 1", "a = " + "-" * 9000 + "1", "a = 'x", "f(" * 40, "\0",
             "a = " + "(" * 40 + "1" + ")" * 40, "[" * 30_000, "a = '" + "x" * 10**6 + "'"]
)  # fmt: skip
def test_bad_texts_are_bad_requests_and_nobody_dies(text):
    with pytest.raises(BadRequestError):
        find_page(rows(), query_from_body({"filter": text, "filter-lang": "cql2-text"}))


BAD_BODIES = [
    [], "x", None, {"limit": 0}, {"limit": -1}, {"limit": "x"}, {"limit": 1.5}, {"limit": True},
    {"limit": float("nan")},
    {"bbox": [1, 2, 3]}, {"bbox": "1,2,3,4"}, {"bbox": [0, 10, 1, 5]}, {"bbox": [0, 0, 1, 95]},
    {"bbox": [0, 0, 400, 1]},
    {"bbox": [0, 0, float("inf"), 1]}, {"bbox": [None] * 4}, {"bbox": [0, 0, 5, 1, 1, 1]},
    {"bbox": [0, 0, 1, 1], "intersects": {"type": "Point", "coordinates": [0, 0]}},
    {"intersects": []}, {"intersects": {"type": "Polygon"}}, {"intersects": {"type": "Polygon", "coordinates": []}},
    {"intersects": {"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}},
    {"intersects": {"type": "Point", "coordinates": ["0", "1"]}},
    {"intersects": {"type": "LineString", "coordinates": [[0, 0]] * 20_000}},
    {"intersects": {"type": "GeometryCollection", "geometries": []}},
    {"datetime": "x"}, {"datetime": "../.."}, {"datetime": "/"}, {"datetime": ""}, {"datetime": 3},
    {"datetime": "2019-01-01"}, {"datetime": "2019-13-01T00:00:00Z"}, {"datetime": "2019-01-01T00:00:00"},
    {"datetime": "2020-01-01T00:00:00Z/2019-01-01T00:00:00Z"}, {"datetime": "2019-01-01T00:00:00Z/P1D"},
    {"datetime": "0000-01-01T00:00:00Z"}, {"datetime": "2019-01-01T00:00:00Z/../.."},
    {"ids": [1]}, {"ids": {"a": 1}}, {"collections": [None]}, {"ids": ["x"] * 10**5},
    {"sortby": 1}, {"sortby": [{"direction": "asc"}]}, {"sortby": [{"field": "id", "direction": "up"}]},
    {"sortby": [1]},
    {"fields": None}, {"fields": []}, {"fields": {"include": [1]}}, {"token": "x"}, {"token": 1}, {"token": "bnVsbA"},
    {"filter": "a = 1", "filter-lang": "cql2-json"}, {"filter": {"op": "x"}, "filter-lang": "sql"},
    {"filter": {"op": "and", "args": [True]}, "filter-crs": "EPSG:3857"}, {"filter": 3}, {"filter-lang": "sql"},
    {"date_time": "2019-01-01T00:00:00Z"}, {"collection": ["daily"]}, {"filter_lang": "cql2-json"}, {"x" * 500: 1},
    {"fields": {"includes": ["id"]}}, {"sortby": [{"field": "id", "order": "desc"}]},
    {"intersects": {"type": "Point", "coordinates": [0, 0], "crs": {"properties": {"name": "EPSG:3857"}}}},
    {"query": []}, {"query": "x"}, {"query": {"value": 3}}, {"query": {"value": {}}}, {"query": {"value": {"=": 3}}},
    {"query": {"value": {"startswith": "3"}}}, {"query": {"value": {"contains": "3"}}},
    {"query": {"platform": {"contains": 3}}}, {"query": {"platform": {"eq": None}}},
    {"query": {"platform": {"eq": ["Aqua"]}}}, {"query": {"platform": {"in": "Aqua"}}},
    {"query": {"platform": {"in": []}}}, {"query": {"platform": {"eq": {"property": "platform"}}}},
    {"collections": "daily"}, {"ids": "a"}, {"fields": {"include": "id"}}, {"fields": "id"}, {"fields": {"exclude": 1}},
    {"sortby": "id"}, {"sortby": ["id"]}, {"sortby": {"field": "id"}}, {"token": ""}, {"token": False}, {"token": []},
    {"filter-crs": ["CRS84"]}, {"filter-crs": "not CRS84"}, {"filter-crs": 84}, {"limit": "10"}, {"limit": [10]},
    {"bbox": {"west": 1}}, {"intersects": "POINT (0 0)"}, {"datetime": ["2019-01-01T00:00:00Z"]},
    {"query": {"platform": {"eq": 3}}}, {"query": {"geometry": {"eq": "x"}}},
]  # fmt: skip


@pytest.mark.parametrize("body", BAD_BODIES, ids=lambda body: str(body)[:60])
def test_bad_bodies_are_bad_requests(body):
    with pytest.raises(BadRequestError) as error:
        find_page(rows(), query_from_body(body))
    assert 10 < len(str(error.value)) < 500


NAMES = {
    "sortby: 'platforms'": {"sortby": [{"field": "platforms"}]},
    "sortby: 'path'": {"sortby": [{"field": "path"}]},
    "sortby: 'geometry'": {"sortby": [{"field": "geometry"}]},
    "filter: 'platforms'": {"query": {"properties.platforms": {"eq": "Aqua"}}},
    "filter: 'grid:cod'": {"filter": "casei(\"grid:cod\") = casei('x') or value > 3"},
    "filter: 'datetme'": {"filter": "t_after(datetme, DATE('2020-01-01'))"},
    "filter: 'valued'": {"filter": {"op": "not", "args": [{"op": "isNull", "args": [{"property": "valued"}]}]}},
    "field 'nosuch'": {"fields": {"include": ["nosuch"]}},
    "field 'platforms'": {"fields": {"exclude": ["platforms"]}},
    "property 'grid:cod'": {"fields": {"include": ["id", "properties.grid:cod"]}},
    "asset 'dat'": {"fields": {"include": ["assets.dat.href"]}},
    "only args, op": {"filter": {"op": "like", "args": [{"property": "platform"}, "a"], "nocase": True}},
    "only property": {"filter": {"op": "isNull", "args": [{"property": "platform", "of": "daily"}]}},
}


@pytest.mark.parametrize("said", NAMES)
def test_a_name_that_no_item_has_is_refused_with_the_nearest(said):
    with pytest.raises(BadRequestError, match=said) as error:
        check_names(rows(), query_from_body(NAMES[said]))
    near = {"platforms": "platform", "grid:cod": "grid:code", "datetme": "datetime", "valued": "value"}
    for wrong, right in near.items():
        assert (f"did you mean '{right}'" in str(error.value)) == (f"'{wrong}'" in said)


VALUES = ["text", "", 1, True, [], ["text"], [1], {}, {"text": 1}, [[1]], [None]]
TYPES = {  # of JSON, by the STAC API and its extensions
    "collections": list, "ids": list, "bbox": list, "intersects": dict, "datetime": str, "limit": int, "token": str,
    "sortby": list, "fields": dict, "filter": str, "filter-lang": str, "filter-crs": str, "query": dict,
}  # fmt: skip


@pytest.mark.parametrize("member", question.BODY_MEMBERS)
def test_a_member_of_another_type_is_refused_with_what_is_required(member):
    for value in VALUES:
        if type(value) is TYPES[member] or (member, type(value)) == ("filter", dict):  # CQL2 as JSON
            continue
        with pytest.raises(BadRequestError, match=rf"^{member}.*(required|only one|position)"):
            query_from_body({member: value})


FIELDS = (
    "id", "geometry", "properties", "links", "assets", "platform", "properties.platform", "properties.datetime",
    "created", "properties.updated", "stac_extensions",
)  # fmt: skip


@pytest.mark.parametrize("name", FIELDS)
def test_fields_that_items_have_are_known_deeper_ones_too(name):
    for body in ({"include": [name]}, {"exclude": [name]}, {"include": [f"{name}.deeper"]}):
        if "deeper" in str(body) and name in {"properties", "assets"}:
            continue  # it names the property or the asset
        check_names(rows(), query_from_body({"fields": body}))


def test_names_are_those_of_the_collection_that_is_asked():
    body = {"filter": {"op": "isNull", "args": [{"property": "grid:code"}]}, "sortby": [{"field": "title"}]}
    check_names(rows(), query_from_body(body))
    check_names(rows(), query_from_body(body), "daily")
    with pytest.raises(BadRequestError, match="grid:code"):
        check_names(rows(), query_from_body(body), "stations")
    for empty in (join_item_tables([]), rows()):  # where nothing can be found, no name is wrong
        check_names(empty, query_from_body({"sortby": [{"field": "platforms"}], "collections": ["none"]}))
        check_names(empty, query_from_body({"fields": {"include": ["nosuch"]}, "collections": ["none"]}))


@settings(max_examples=examples(100))
@given(st.text("aS%_\\1-.\n", max_size=4))
def test_patterns_of_the_query_extension_are_plain_text(text):
    for operator in ("startsWith", "endsWith", "contains"):
        found = set(ids(matching_rows(rows(), query_from_body({"query": {"platform": {operator: text}}}))))
        assert found == {item["id"] for item in ITEMS if asked(item["properties"]["platform"], {operator: text})}
    chosen = [text, "Aqua", "S-1%"]
    found = set(ids(matching_rows(rows(), query_from_body({"query": {"platform": {"in": chosen}}}))))
    assert found == {item["id"] for item in ITEMS if item["properties"]["platform"] in chosen}


def test_a_filter_and_a_query_hold_both():
    both = {"filter": "value > 1", "query": {"platform": {"in": ["Aqua", "Terra"]}}}
    found = [set(ids(matching_rows(rows(), query_from_body(body)))) for body in (
        both, {"filter": both["filter"]}, {"query": both["query"]})]  # fmt: skip
    assert found[0] == found[1] & found[2] not in found[1:]


def test_the_description_has_the_members_of_a_search():
    schema = POST_SEARCH["requestBody"]["content"]["application/json"]["schema"]
    assert set(schema["properties"]) == set(question.BODY_MEMBERS)


@pytest.mark.parametrize("limit", [question.MAX_LIMIT + 1, 10**6, 10_000])
def test_a_page_has_a_bound(limit):
    assert query_from_body({"limit": limit}).limit == question.MAX_LIMIT


def test_a_query_string_asks_what_a_body_asks():
    polygon = {"type": "Polygon", "coordinates": [[[0, 0], [9, 0], [9, 9], [0, 0]]]}
    from json import dumps

    query = {
        "ids": "a,b", "collections": "daily", "intersects": dumps(polygon), "limit": "5", "sortby": "-id,+platform",
        "datetime": "2019-01-01T00:00:00Z/..", "fields": "id,-geometry", "filter": "value > 1", "token": "t",
        "query": '{"value": {"lt": 3}}',
    }  # fmt: skip
    body = {
        "ids": ["a", "b"], "collections": ["daily"], "intersects": polygon, "limit": 5, "token": "t",
        "sortby": [{"field": "id", "direction": "desc"}, {"field": "platform", "direction": "asc"}],
        "datetime": "2019-01-01T00:00:00Z/..", "fields": {"include": ["id"], "exclude": ["geometry"]},
        "filter": {"op": ">", "args": [{"property": "value"}, 1]}, "filter-lang": "cql2-json",
        "query": {"value": {"lt": 3}},
    }  # fmt: skip
    assert query_from_parameters(query) == query_from_body(body)
    assert query_from_parameters({"bbox": "0,1,2,3"}) == query_from_body({"bbox": [0, 1, 2, 3]})


def test_a_box_across_the_antimeridian():
    found = set(ids(matching_rows(rows(), query_from_body({"bbox": [170, -90, -170, 90]}))))
    halves = [
        matching_rows(rows(), query_from_body({"bbox": part})) for part in ([170, -90, 180, 90], [-180, -90, -170, 90])
    ]
    assert found == {id for half in halves for id in ids(half)}
    assert found


def test_no_items_at_all():
    none = join_item_tables([])
    for body in ({}, {"ids": ["x"]}, {"bbox": [0, 0, 1, 1]}, {"filter": {"op": "isNull", "args": [{"property": "a"}]}}):
        assert len(find_page(none, query_from_body(body)).rows) == 0
