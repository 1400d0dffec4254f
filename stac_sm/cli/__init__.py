"""The command line: one command a stage of the flow. Each command parses, calls a workflow and prints.

Data goes to stdout, messages to stderr. Nothing imports this folder but ``python -m stac_sm``. Heavy imports stand
inside the commands, so that ``stac-sm --help`` starts at once.
"""
