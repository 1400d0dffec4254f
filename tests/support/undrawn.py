"""Pages without the drawing of their figures, for tests that look at what stands beside them.

Drawing takes half of a training step. What figures show is tested in workflows/reporting; that those of a page are
drawn, by the steps that fixtures of a module make.
"""

from __future__ import annotations

from io import BytesIO

import pytest
from PIL import Image

from stac_sm.workflows.reporting import figures, stations
from stac_sm.workflows.validation import figures as validation_figures


def leave_figures_undrawn(patch: pytest.MonkeyPatch) -> None:
    """Let figures be made, and a white pixel stand for the picture of each."""
    buffer = BytesIO()
    Image.new("L", (1, 1), 255).save(buffer, "PNG")
    for module in (figures, stations, validation_figures):
        patch.setattr(module, "figure_png", lambda _: buffer.getvalue())
