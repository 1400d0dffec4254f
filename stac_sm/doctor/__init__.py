"""Checks of a machine and a project before work begins.

`examine` yields one `check.Check` after another: of the machine (`machine_checks`), of the project and its stores
(`project_checks`), and of what an upgrade has made stale (`upgrade_checks`); ``stac-sm doctor`` prints them. Nothing is
changed. The folder may import every stage and `workflows`, but neither `serve` nor `simulate`, and only the command
line and the demo import it.
"""
