"""Faults in runs: what is killed, filled, cut off or damaged at a random moment must leave nothing half done.

Run: ``python tests/support/faults.py [--rounds 100] [--seed 1] [--kinds worker,client,…] [--json]``.

Each round copies a small project, runs ``stac-sm run PLAN`` as a user does, and harms it. Then an audit must find no
half item (orphans, links and extents that are not up to date yet may be found), the same command must finish the rest,
the final audit must find nothing, and the catalogue must be byte-identical to that of an undisturbed run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from stac_sm.product.item import PRODUCT_COLLECTION
from stac_sm.stac.catalogs.catalog import open_catalog
from stac_sm.storage.store import Store, open_store
from stac_sm.workflows.audit import audit, repair
from tests.support.fields import TILE, small_project
from tests.support.object_stores import FaultyProxy, environment_of, moto_server, new_bucket, sometimes
from tests.support.warm_start import warm_python

PERIOD = "2018-06-28/2018-07-03"
DERIVED = {"orphan", "link", "extent"}
"""Findings that a run that was cut short may leave: nothing that a reader takes for data."""

_LONGEST = 240  # seconds that a command may take
_FEWER_PAGES_THAN_A_RUN_TAKES = 30  # of 4 KiB; each file takes one at least


@dataclass(frozen=True)
class Round:
    """One fault and what came of it."""

    kind: str
    """What was done."""

    seed: int
    """Of the moment and the victim."""

    exit_code: int
    """Of the disturbed run; negative if it was killed."""

    found: dict[str, int]
    """Findings of an audit right after, by kind."""

    wrong: str
    """What is not as it must be; empty if all is well."""


@dataclass(frozen=True)
class Bench:
    """A project, a plan, and what an undisturbed run makes of them."""

    project: Path
    """Never run in: copied for each round."""

    wanted: dict[str, bytes]
    """Path -> content after an undisturbed run."""

    def copy(self, folder: Path) -> Path:
        """A copy to be harmed."""
        shutil.copytree(self.project, folder)
        return folder


def main() -> None:
    given = arguments()
    for one in (signal.SIGTERM, signal.SIGINT):  # a shell makes what it puts aside, and all below it, deaf to Ctrl-C
        signal.signal(one, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="stac-sm-faults-") as scratch:
        bench = prepare(Path(scratch))
        rounds = []
        for i in range(given.rounds):
            seed = given.seed + i
            kind = given.kinds[seed % len(given.kinds)]
            try:
                rounds.append(one_round(bench, kind, seed, Path(scratch, f"round-{seed}")))
            except KeyboardInterrupt:  # enough for today: what there is is told
                break
            except Exception as error:  # told at the end, beside the others
                rounds.append(Round(kind, seed, 0, {}, f"{type(error).__name__}: {error}"))
            print(f"{i + 1} of {given.rounds}: {rounds[-1]}", file=sys.stderr)
            shutil.rmtree(Path(scratch, f"round-{seed}"), ignore_errors=True)
    found = summary(rounds)
    print(json.dumps(found, indent=2) if given.json else "\n".join(f"{key}: {value}" for key, value in found.items()))
    sys.exit(bool(found["wrong"]))


def prepare(folder: Path) -> Bench:
    """A project with a plan, and what an undisturbed run leaves."""
    project, _, _ = small_project(folder / "project")
    root = Path(project.folder)
    done, told = command(root, "plan", "--tiles", TILE, "--period", PERIOD, "--out", str(root / "plan.parquet"))
    assert done == 0, told
    shutil.copytree(root, folder / "undisturbed")
    done, told = command(folder / "undisturbed", "run", "plan.parquet")
    assert done == 0, told
    return Bench(root, contents(open_store(folder / "undisturbed")))


def one_round(bench: Bench, kind: str, seed: int, scratch: Path) -> Round:
    """Harm a run, look, run again, look again."""
    scratch.mkdir()
    with KINDS[kind](bench, random.Random(seed), scratch) as (root, code, again):
        store = open_store(root)
        first = audit(open_catalog(root), collections=[PRODUCT_COLLECTION])
        wrong = [f"half an item: {one}" for one in first if one.kind not in DERIVED]
        code_again, told = again()
        if code_again != 0:
            wrong.append(f"the same command again: exit code {code_again}: {told[-500:]}")
        repair(open_catalog(root), audit(open_catalog(root), collections=[PRODUCT_COLLECTION]), grace_hours=0)
        wrong += [f"still found: {one}" for one in audit(open_catalog(root), collections=[PRODUCT_COLLECTION])]
        wrong += different(contents(store), bench.wanted)
    return Round(kind, seed, code, dict(Counter(one.kind for one in first)), "; ".join(wrong))


def summary(rounds: list[Round]) -> dict[str, object]:
    """Rounds by kind, and all that is wrong."""
    return {
        "rounds": len(rounds),
        "by_kind": dict(Counter(one.kind for one in rounds)),
        "exit_codes": {kind: dict(Counter(r.exit_code for r in rounds if r.kind == kind)) for kind in KINDS},
        "findings_right_after": dict(sum((Counter(one.found) for one in rounds), Counter())),
        "wrong": [asdict(one) for one in rounds if one.wrong],
    }


def command(root: Path | str, *words: str, **environment: str) -> tuple[int, str]:
    """Run a command of stac-sm to its end: exit code and what it said; one that hangs says where."""
    with subprocess.Popen(
        [*warm_python(), "-m", "stac_sm", *words], cwd=root if Path(root).is_dir() else None,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=os.environ | {"PYTHONFAULTHANDLER": "1"} | environment,
    ) as run:  # fmt: skip
        try:
            told, _ = run.communicate(timeout=_LONGEST)
        except subprocess.TimeoutExpired:
            run.send_signal(signal.SIGABRT)
            told = f"no end within {_LONGEST} s: {run.communicate(timeout=20)[0][-4000:]}"
    return run.returncode, told


def words_of(*words: str) -> list[str]:
    return [sys.executable, "-m", "stac_sm", *words]


def contents(store: Store) -> dict[str, bytes]:
    """Files of a catalogue that a run must leave the same, in any place; proofs of the index hold times and inodes."""
    aside = ("runs/", "plans/", ".scratch/", "plan.parquet", f"{PRODUCT_COLLECTION}/index/proof/")
    paths = [entry.path for entry in store.list_objects() if not entry.path.startswith(aside)]
    return {path: rows_of(store, path) if "/index/" in path else store.read(path) for path in paths}


def rows_of(store: Store, shard: str) -> bytes:
    """Rows of a shard with self links below the root; its metadata hold the root and the extent of that time."""
    rows = pq.read_table(pa.BufferReader(store.read(shard))).to_pylist()
    for row in rows:
        for link in row["links"]:
            link["href"] = link["href"].removeprefix(store.root)
    return repr(rows).encode()


def different(found: dict[str, bytes], wanted: dict[str, bytes]) -> list[str]:
    paths = sorted(path for path in found.keys() | wanted.keys() if found.get(path) != wanted.get(path))
    return [f"not as undisturbed: {', '.join(paths[:5])} ({len(paths)} files)"] if paths else []


Harmed = Iterator[tuple[Path | str, int, Callable[[], tuple[int, str]]]]
"""Where the catalogue is, exit code of the disturbed run, and the same command again."""


def disturbed(root: Path, harm: Callable[[subprocess.Popen[str], psutil.Process], None], *words: str) -> int:
    """Start a run, harm it, wait for its end and for that of all its processes."""
    log = root.parent / "disturbed.log"
    with log.open("w") as out, subprocess.Popen(
        words_of(*(words or ("run", "plan.parquet"))), cwd=root, stdout=out, stderr=out, text=True,
        start_new_session=True,
    ) as run:  # fmt: skip
        process = psutil.Process(run.pid)
        harm(run, process)
        code = run.wait(_LONGEST)
    assert not left_behind(run.pid), f"processes left behind: {left_behind(run.pid)}"
    assert "Traceback" not in log.read_text(), log.read_text()
    return code


def left_behind(session: int) -> list[str]:
    """Processes of a session that do not end within half a minute."""
    deadline = time.monotonic() + 30
    while found := [p for p in psutil.process_iter() if session_of(p.pid) == session and running(p)]:
        if time.monotonic() > deadline:
            return [str(p) for p in found]
        time.sleep(0.2)
    return []


def session_of(pid: int) -> int | None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        return os.getsid(pid)
    return None


def running(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def moment(chance: random.Random, root: Path) -> None:
    """Wait: for the first traces of work mostly, and then a little; at times less, at times much longer."""
    if chance.random() < 0.8:
        deadline = time.monotonic() + 60
        while not any(Path(root, PRODUCT_COLLECTION).glob("2018/*/*/*")) and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 1.0))
    else:
        time.sleep(chance.uniform(0, 12.0))


@contextlib.contextmanager
def killed(bench: Bench, chance: random.Random, scratch: Path, *, victim: str) -> Harmed:
    """SIGKILL of a worker or of the whole run, SIGTERM, or Ctrl-C, at a random moment."""
    root = bench.copy(scratch / "p")

    def harm(run: subprocess.Popen[str], process: psutil.Process) -> None:
        moment(chance, root)
        if victim == "worker":
            with contextlib.suppress(psutil.NoSuchProcess, IndexError):
                below = process.children(recursive=True)  # but for Python's own clerk, which no system kills for memory
                chance.choice(
                    [one for one in below if not any("resource_tracker" in word for word in one.cmdline())]
                ).kill()
        else:
            run.send_signal({"client": signal.SIGKILL, "term": signal.SIGTERM, "ctrl-c": signal.SIGINT}[victim])

    code = disturbed(root, harm)
    yield root, code, partial(command, root, "run", "plan.parquet", "--workers", "1")


@contextlib.contextmanager
def scheduler(bench: Bench, chance: random.Random, scratch: Path) -> Harmed:
    """SIGKILL of a Dask scheduler that runs for itself."""
    root = bench.copy(scratch / "p")
    with dask_cluster(scratch) as (address, process):

        def harm(run: subprocess.Popen[str], client: psutil.Process) -> None:
            moment(chance, root)
            process.kill()

        code = disturbed(root, harm, "run", "plan.parquet", "--scheduler", address, "--project", str(root))
    with dask_cluster(scratch) as (address, _):
        yield root, code, partial(command, root, "run", "plan.parquet", "--scheduler", address, "--project", str(root))


@contextlib.contextmanager
def dask_cluster(scratch: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A scheduler and two workers, each a process as an operator starts them; its address and the scheduler."""
    file = Path(scratch, f"scheduler-{time.monotonic_ns()}.json")
    dask, quiet = [sys.executable, "-m", "dask"], {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with contextlib.ExitStack() as stack:

        def start(*words: str) -> subprocess.Popen[str]:
            process = subprocess.Popen([*dask, *words], text=True, **quiet)
            stack.callback(ended, process)
            return process

        lead = start("scheduler", "--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0",
                     "--scheduler-file", str(file))  # fmt: skip
        deadline = time.monotonic() + 60
        while not file.exists() or not file.read_text().endswith("}"):
            assert time.monotonic() < deadline, "no scheduler"
            time.sleep(0.05)
        address = json.loads(file.read_text())["address"]
        for _ in range(2):
            start("worker", address, "--nthreads", "1", "--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0",
                  "--local-directory", str(scratch), "--death-timeout", "20")  # fmt: skip
        yield address, lead


def ended(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def disk(bench: Bench, chance: random.Random, scratch: Path, *, full: bool) -> Harmed:
    """A store on a disk of its own that gets full, or cannot be written to."""
    place = scratch / "disk"
    place.mkdir()
    mounted("-t", "tmpfs", "-o", f"size={1 << 28}", "tmpfs", str(place))
    try:
        root = bench.copy(place / "p")
        room = chance.randrange(1, _FEWER_PAGES_THAN_A_RUN_TAKES) * 4096
        mounted("-o", f"remount,size={shutil.disk_usage(place).used + room}" if full else "remount,ro", str(place))
        code, told = command(root, "run", "plan.parquet")
        assert "Traceback" not in told, told
        assert code == 1, told
        assert ("no space left" if full else "read-only file system") in told.lower(), told
        mounted("-o", f"remount,rw,size={1 << 28}", str(place))
        yield root, code, partial(command, root, "run", "plan.parquet", "--workers", "1")
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def mounted(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


@contextlib.contextmanager
def memory(bench: Bench, chance: random.Random, scratch: Path) -> Harmed:
    """Workers that are given too little memory."""
    root = bench.copy(scratch / "p")
    little = f"{chance.randrange(150, 260)}M"
    code, told = command(root, "run", "plan.parquet", "--memory", little, STAC_SM_COLD_WORKERS="1")
    assert code == 0 or "too little memory" in told, told
    yield root, code, partial(command, root, "run", "plan.parquet", "--workers", "1")


@contextlib.contextmanager
def corrupt(bench: Bench, chance: random.Random, scratch: Path) -> Harmed:
    """An input file that was cut or changed, among good ones; mended before the second run."""
    root = bench.copy(scratch / "p")
    file = chance.choice(sorted(root.glob("glass-lst/**/*.tif")) + sorted(root.glob("era5-land/**/*.tif")))
    whole = file.read_bytes()
    at = chance.randrange(1, len(whole))
    file.write_bytes(whole[:at] + (b"" if chance.random() < 0.5 else bytes([whole[at] ^ 255]) + whole[at + 1 :]))
    code, told = command(root, "run", "plan.parquet")
    assert code == 1, told
    assert file.parent.name in told, told
    file.write_bytes(whole)
    yield root, code, partial(command, root, "run", "plan.parquet", "--workers", "1")


@contextlib.contextmanager
def s3(bench: Bench, chance: random.Random, scratch: Path, *, faults: tuple[str, ...]) -> Harmed:
    """A store on S3 that answers 503, drops connections, cuts answers, or takes tokens for expired."""
    server = moto_server()
    with environment_of(server):
        root = f"s3://{new_bucket(server, f'faults-{chance.randrange(1 << 30)}')}/p"
        store = open_store(root)
        for file in bench.project.rglob("*"):
            if file.is_file() and ".scratch" not in file.parts:
                store.create(file.relative_to(bench.project).as_posix(), file)
        words = ("run", f"{root}/plan.parquet", "--project", root)
        calm = {"STAC_SM_RETRY_FIRST_WAIT": "0.02", "STAC_SM_RETRY_LONGEST_WAIT": "0.2"}
        with FaultyProxy(server, sometimes(chance.randrange(1 << 30), faults, chance.uniform(0.02, 0.3))) as proxy:
            code, told = command(scratch, *words, **proxy.environment, **calm)
        assert "Traceback" not in told, told
        yield root, code, partial(command, scratch, *words)


KINDS: dict[str, Callable[[Bench, random.Random, Path], contextlib.AbstractContextManager]] = {
    "worker": partial(killed, victim="worker"),
    "client": partial(killed, victim="client"),
    "term": partial(killed, victim="term"),
    "ctrl-c": partial(killed, victim="ctrl-c"),
    "scheduler": scheduler,
    "disk full": partial(disk, full=True),
    "read-only": partial(disk, full=False),
    "memory": memory,
    "corrupt": corrupt,
    "s3": partial(s3, faults=("503", "lost", "cut")),
    "credentials": partial(s3, faults=("expired",)),
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kinds", type=lambda text: text.split(","), default=list(KINDS))
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
