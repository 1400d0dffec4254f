"""Training: from stations or a table to a published model.

`steps` makes match-ups, screens stations and trains, each once for the same inputs; `training_run` composes them
for a project; `table_training` trains on a table of the user's own, `table_scores` scores models on other tables.
"""
