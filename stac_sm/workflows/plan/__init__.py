"""The way of a day from requested to planned.

1. `existing_items` lists the items of the product that are there, with their fingerprints.
2. `item_rows` reads the inputs' index shards and verifies their rows against a listing of the store; `input_table`
   turns them into one table of input files a collection.
3. `tile_planner` resolves, for one tile and all days at once, which input files make which day; it computes each
   day's fingerprint.
4. `planned_days` compares both: new, up to date, stale (with the part that changed) or blocked (with what is
   missing).
5. `plan` does this for all tiles and cuts what is to be made into tasks of one tile and month (months with few days
   are put together); `plan_file` freezes the plan into a GeoParquet file, which `workflows.run` reads.
"""
