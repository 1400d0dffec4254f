"""The server: a read-only STAC API over the index of a catalogue, with STAC Browser and map tiles.

A request goes from `app` (routes) to `query` (what the client asks for), `search` and `item_columns` (which items of
the index match), `responses` (the JSON). It may import workflows and what lies below them, not the other entry
folders. The server holds nothing that the store does not hold.
"""
