"""Checks of a machine and a project before work begins.

`examine` yields one `check.Check` after another: of the machine (`machine_checks`), then of the project and its
stores (`project_checks`). Nothing is changed.
"""
