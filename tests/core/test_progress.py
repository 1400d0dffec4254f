"""Progress: plain lines where nobody watches, a bar on a terminal, always on stderr's side."""

import os
import pty
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from stac_sm.core.progress import ProgressBar, steps_of_part


def test_elsewhere_the_last_step_is_a_plain_line_with_count_and_rate():
    lines: list[str] = []
    with ProgressBar("ingest", "files", lines.append) as progress:
        for _ in range(5):
            progress.step(5)
    assert len(lines) == 1
    assert lines[0].startswith("ingest: 5 of 5 files, ")
    assert lines[0].endswith(" a second, 0 s left")


def test_slow_work_speaks_every_ten_seconds(monkeypatch):
    from stac_sm.core import progress as module

    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr(module.time, "monotonic", lambda: float(next(clock)))
    lines: list[str] = []
    with ProgressBar("run", "tasks", lines.append) as progress:
        for _ in range(20):
            progress.step(100)
    assert 5 <= len(lines) < 20
    assert lines[0].startswith("run: ")
    assert "of 100 tasks" in lines[0]
    assert "s left" in lines[1]


def test_the_first_step_foretells_nothing(monkeypatch):
    """It waited for what the others find ready."""
    from stac_sm.core import progress as module

    clock = iter(range(0, 1000, 20))
    monkeypatch.setattr(module.time, "monotonic", lambda: float(next(clock)))
    lines: list[str] = []
    with ProgressBar("run", "tasks", lines.append) as progress:
        for _ in range(4):
            progress.step(100)
    assert lines[0] == "run: 1 of 100 tasks"
    assert "s left" in lines[-1]


def test_on_a_terminal_a_bar_is_drawn():
    code = "from stac_sm.core.progress import ProgressBar\nwith ProgressBar('work', 'files', print) as bar:\n"
    code += "    bar.step(2); bar.step(2)"
    parent, child = pty.openpty()
    done = subprocess.run([sys.executable, "-c", code], stderr=child, stdout=subprocess.PIPE, text=True, check=True)
    os.close(child)
    drawn = os.read(parent, 100_000).decode()
    os.close(parent)
    assert done.stdout == ""
    assert "work" in drawn
    assert "2/2" in drawn


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6))
def test_more_steps_than_were_announced_leave_no_negative_time(totals):
    """Three parts of one step each once said `3 of 1, -21 s left`."""
    lines: list[str] = []
    with ProgressBar("mosaic", "tiles", lines.append) as progress:
        for total in totals:
            progress.step(total)
    for line in lines:
        done, total = (int(word) for word in line.split(": ")[1].split(" tiles")[0].split(" of "))
        assert done <= total
        assert " -" not in line


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 8)), max_size=6))
def test_steps_of_parts_add_up_to_the_whole(parts):
    """Whether a part reports all of its steps, fewer (it was there already) or more."""
    total, seen = sum(size for size, _ in parts), list[int]()
    for size, reported in parts:
        with steps_of_part(seen.append, total, size) as step:
            for _ in range(reported):
                step(size)
    assert seen == [total] * total


def test_slow_steps_are_told_in_seconds_each(monkeypatch):
    from stac_sm.core import progress as module

    clock = iter(range(0, 1000, 20))
    monkeypatch.setattr(module.time, "monotonic", lambda: float(next(clock)))
    lines: list[str] = []
    with ProgressBar("run", "tasks", lines.append) as progress:
        for _ in range(4):
            progress.step(4)
    assert " s each, 0 s left" in lines[-1]
