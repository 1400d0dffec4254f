"""Counts of a run for Prometheus, read by its own parser; a gateway is a server that keeps what is sent."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from prometheus_client.parser import text_string_to_metric_families

from stac_sm.core.errors import InputError
from stac_sm.workflows.run.run import PlanSlice, RunReport
from stac_sm.workflows.run.run_log import ItemFailure, TaskRecord
from stac_sm.workflows.run.run_metrics import write_run_metrics

FAILED = ItemFailure("SM1KM.A2019159.h18v04.v001", "ReadError", "cut off")
RECORDS = [
    TaskRecord("h18v04 2019-06", "p", "r", worker="w", started="s", seconds=2.5, outcomes={"new": 3}, failures=()),
    TaskRecord(
        "h18v04 2019-07", "p", "r", worker="w", started="s", seconds=1.5, outcomes={"new": 1}, failures=(FAILED,)
    ),
]


@pytest.fixture
def report():
    return RunReport("r", 9.0, RECORDS, blocked=2)


def samples(text):
    return {
        (one.name, *one.labels.values()): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def expected(found):
    assert found["stac_sm_run_tile_days", "new"] == 4
    assert found["stac_sm_run_tile_days", "failed"] == 1
    assert found["stac_sm_run_tile_days", "blocked"] == 2
    assert found["stac_sm_run_tasks",] == 2
    assert found["stac_sm_run_task_seconds",] == 4.0


def test_a_file_for_the_node_exporter(report, tmp_path):
    write_run_metrics(report, str(tmp_path / "run.prom"))
    expected(samples((tmp_path / "run.prom").read_text()))


def test_a_push_gateway(report):
    kept = {}

    class Gateway(BaseHTTPRequestHandler):
        def do_PUT(self):
            kept[self.path] = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    server = HTTPServer(("127.0.0.1", 0), Gateway)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        gateway = f"http://127.0.0.1:{server.server_port}"
        write_run_metrics(report, gateway)
        for index in (0, 3):  # slices of an array job do not take one another's place
            write_run_metrics(report, gateway, PlanSlice(index, 8))
    finally:
        server.shutdown()
        server.server_close()
    place = "/metrics/job/stac_sm_run"
    assert list(kept) == [place, f"{place}/slice/0", f"{place}/slice/3"]
    expected(samples(kept["/metrics/job/stac_sm_run"]))


def test_what_cannot_be_written_is_said_and_the_run_stays_done(report, tmp_path):
    for target in (str(tmp_path / "no" / "run.prom"), "http://u:s3cr3t@127.0.0.1:1"):
        with pytest.raises(InputError, match="the run itself is done") as refused:
            write_run_metrics(report, target)
        assert "s3cr3t" not in str(refused.value)
