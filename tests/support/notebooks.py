"""Run the cells of a notebook in one namespace, and keep what they print and draw.

    python tests/support/notebooks.py NOTEBOOK FOLDER

writes the outputs into the notebook, as it runs in a folder that holds ``sm-demo``.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

DOTS_AN_INCH = 70


def run_cells(notebook: Path, folder: Path) -> list[dict[str, Any]]:
    """Return the code cells of a notebook with their outputs, as the format of notebooks (4.5) has them.

    Parameters
    ----------
    notebook
        Notebook without magic commands.
    folder
        Folder in which it is run.
    """
    mpl.use("agg")
    from matplotlib import pyplot as plt

    names: dict[str, Any] = {}
    cells = [one for one in json.loads(notebook.read_text())["cells"] if one["cell_type"] == "code"]
    with contextlib.chdir(folder):
        for number, cell in enumerate(cells, 1):
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile("".join(cell["source"]), f"{notebook.name}, cell {number}", "exec"), names)
            cell["outputs"] = _text(printed.getvalue())
            for figure in map(plt.figure, plt.get_fignums()):
                cell["outputs"].append(_picture(figure))
            plt.close("all")
            cell["execution_count"] = number
    return cells


def _text(printed: str) -> list[dict[str, Any]]:
    lines = printed.splitlines(keepends=True)
    return [{"name": "stdout", "output_type": "stream", "text": lines}] if lines else []


def _picture(figure: Any) -> dict[str, Any]:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DOTS_AN_INCH, bbox_inches="tight", metadata={"Software": None})
    data = {"image/png": base64.b64encode(file.getvalue()).decode(), "text/plain": ["<Figure>"]}
    return {"data": data, "metadata": {}, "output_type": "display_data"}


def main(notebook: Path, folder: Path) -> None:
    """Write the outputs into a notebook."""
    whole, done = json.loads(notebook.read_text()), iter(run_cells(notebook, folder))
    whole["cells"] = [next(done) if one["cell_type"] == "code" else one for one in whole["cells"]]
    notebook.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    os.environ.setdefault("MPLBACKEND", "agg")
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]))
