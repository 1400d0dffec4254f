"""Workflows: what a user asks for in one sentence, composed of stages.

`project` is the project file. From it start `plan` (which days are to be made), `run` (make them), `audit` (verify
them), `training`, `validation`, `reporting` and `submit`. Commands and Python callers call these; workflows may
import every stage and everything below, never an entry folder.
"""
