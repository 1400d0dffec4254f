"""Features: from a recipe, a catalogue and a grid to a lazy feature cube.

`recipe` says what the features are; `inputs` and `time_rules` resolve which items make which day; `daily_fields`
builds lazy arrays; `cube` is the public function; `climatology` and `derived` add what is computed. Training and
prediction both come through here. It imports no stage.
"""
