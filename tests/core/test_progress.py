"""Progress: plain lines where nobody watches, a bar on a terminal, always on stderr's side."""

import os
import pty
import subprocess
import sys

from stac_sm.core.progress import ProgressBar


def test_elsewhere_the_last_step_is_a_plain_line_with_count_and_rate():
    lines: list[str] = []
    with ProgressBar("ingest", lines.append) as progress:
        for _ in range(5):
            progress.step(5)
    assert len(lines) == 1
    assert lines[0].startswith("ingest: 5 of 5, ")
    assert lines[0].endswith("/s, 0 s left")


def test_slow_work_speaks_every_ten_seconds(monkeypatch):
    from stac_sm.core import progress as module

    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr(module.time, "monotonic", lambda: float(next(clock)))
    lines: list[str] = []
    with ProgressBar("run", lines.append) as progress:
        for _ in range(20):
            progress.step(100)
    assert 5 <= len(lines) < 20
    assert lines[0].startswith("run: ")
    assert "of 100" in lines[0]
    assert "s left" in lines[1]


def test_the_first_step_foretells_nothing(monkeypatch):
    """It waited for what the others find ready."""
    from stac_sm.core import progress as module

    clock = iter(range(0, 1000, 20))
    monkeypatch.setattr(module.time, "monotonic", lambda: float(next(clock)))
    lines: list[str] = []
    with ProgressBar("run", lines.append) as progress:
        for _ in range(4):
            progress.step(100)
    assert lines[0] == "run: 1 of 100"
    assert "s left" in lines[-1]


def test_on_a_terminal_a_bar_is_drawn():
    code = "from stac_sm.core.progress import ProgressBar\nwith ProgressBar('work', print) as bar:\n"
    code += "    bar.step(2); bar.step(2)"
    parent, child = pty.openpty()
    done = subprocess.run([sys.executable, "-c", code], stderr=child, stdout=subprocess.PIPE, text=True, check=True)
    os.close(child)
    drawn = os.read(parent, 100_000).decode()
    os.close(parent)
    assert done.stdout == ""
    assert "work" in drawn
    assert "2/2" in drawn
