"""The demo's parts that need no demo: what it uses, what it says."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from stac_sm.cli.main import main
from stac_sm.core.metrics import Scores
from stac_sm.demo.flow import SOURCES, DemoComparison, DemoReport
from stac_sm.ingest.registry import provider_classes
from stac_sm.model.skill import Skill
from stac_sm.storage.disk_lock import lock_file

NOTHING = float("nan")


def report(*others: DemoComparison) -> DemoReport:
    truth = Scores(10, 0.7, 0.04, 0.04, 0.01)
    return DemoReport("demo/catalog.json", "xgb-1", "screened", (), truth, others, 3, 0, 1.0, ("status", "audit"))


def test_only_sources_that_exist_are_used() -> None:
    assert set(SOURCES) <= set(provider_classes())


def test_other_products_are_told_with_their_cells() -> None:
    made = report(DemoComparison("smap", "smap_sm", "36 km", Scores(246, 0.6005, 0.0447, 0.0297, 0.0335)))
    (line,) = (line for line in made.text.splitlines() if line.startswith("  smap "))
    assert line.split() == (
        "smap 36 km 246 cells and days R 0.601 RMSE 0.045 ubRMSE 0.030 bias +0.034".split()  # noqa: SIM905
    )
    (one,) = made.to_dict()["others"]
    assert one["collection"] == "smap"
    assert one["scores"]["n"] == 246


def test_the_skill_of_the_model_is_the_first_thing_said_and_in_json() -> None:
    worse = Skill("site", "input", "swvl1", 100, 9, 0.06, 0.05, 0.2, -0.1, 0.4)
    made = dataclasses.replace(report(), skill=(worse,))
    assert made.text.startswith("WORSE THAN ITS OWN INPUT: at unseen sites RMSE 0.0600, +20 %")
    assert made.to_dict()["skill"] == [worse.to_dict()]
    assert report().to_dict()["skill"] == []


def test_a_day_that_another_product_has_not_seen_is_no_number() -> None:
    made = report(DemoComparison("smap", "smap_sm", "36 km", Scores(0, NOTHING, NOTHING, NOTHING, NOTHING)))
    assert "R   -  " in made.text
    assert "nan" not in made.text


def test_a_second_demo_in_a_folder_is_refused_while_the_first_is_at_work(tmp_path: Path) -> None:
    with lock_file(tmp_path / "earth" / ".demo.lock"):
        before = sorted(tmp_path.rglob("*"))
        done = CliRunner().invoke(main, ["demo", str(tmp_path)])
    assert done.exit_code == 1
    assert f"demo {tmp_path}: another demo is at work in this folder (process " in done.stderr
    assert "wait until it has ended, or name another folder" in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


WORKER = """if True:
    import numpy as np
    from numba.core import event
    from stac_sm.model.applicability import Applicability
    from stac_sm.model.forest.kernel_loader import load_kernel
    compiled = event.RecordingListener()
    event.register("numba:compile", compiled)
    load_kernel()
    area = Applicability(("a", "b"), (0.0, 1.0), (1.0, 2.0), (1, 1), ((0, 0), (3, 4)), (), 4, 1.0, 1.0, 1.0, 9)
    area.outside({name: np.arange(8, dtype=np.float32) for name in area.features})
    print(len(compiled.buffer))"""


def test_a_worker_of_the_run_compiles_nothing_itself(tmp_path: Path) -> None:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    for code in ("from stac_sm.demo.flow import _compile_kernel; _compile_kernel()", WORKER):
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0"]
