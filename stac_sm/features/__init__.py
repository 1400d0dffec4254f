"""Features: from a recipe, a catalogue and a grid to a lazy feature cube.

`recipe` says which features there are; `inputs` and `time_rules` find the items that make each day; `daily_fields`
builds the arrays of a day; `cube` is the public function; `climatology` and `derived` add what is computed. Training
(through `stations`) and prediction (through `workflows`) both build features here. The folder imports `stac`, `raster`,
`storage` and `core`, and no stage.
"""
