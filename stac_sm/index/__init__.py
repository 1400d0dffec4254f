"""The index: stac-geoparquet shards of a collection, derived from its items, and what proves them.

``{collection}/index/{YYYY}-{MM}.parquet`` holds the items of a month, as a pure function of these items: the same items
give the same bytes wherever they lie. ``{collection}/index/proof/{YYYY}-{MM}.parquet`` says of which listing it was
made, row by row: a row counts only while the store still lists this item with this version and size.
"""

from __future__ import annotations

from stac_sm.index.build import IndexResult, MonthResult, update_index
from stac_sm.index.document import Document, document, month_of
from stac_sm.index.proof import ALL, Checked, check, empty_index, index_months, is_item, read_index, read_shard
from stac_sm.index.shard import in_order, shard_bytes, shard_table

__all__ = [
    "ALL", "Checked", "Document", "IndexResult", "MonthResult", "check", "document", "empty_index", "in_order",
    "index_months", "is_item", "month_of", "read_index", "read_shard", "shard_bytes", "shard_table", "update_index",
]  # fmt: skip
