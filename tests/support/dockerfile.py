"""A Dockerfile carried out without an engine: each stage is a copy of a base system, each step runs in a chroot.

What an engine does beside that (layers, limits, networks) is not looked at.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_HOST = ("/etc/resolv.conf", "/etc/hosts", "/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt")
_PASSED = ("SSL_CERT_FILE", "PIP_CERT", "PIP_DEFAULT_TIMEOUT", "PIP_INDEX_URL", "UV_INDEX_URL", "https_proxy")
_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"


@dataclass
class Stage:
    """A file system, and with what the next step runs in it."""

    root: Path
    """Its folder."""

    environment: dict[str, str] = field(default_factory=dict)
    """By ENV."""

    folder: str = "/"
    """By WORKDIR."""

    user: str = "0:0"
    """By USER."""

    command: list[str] = field(default_factory=list)
    """By CMD."""

    def run(self, command: list[str], user: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command as the user of the stage, or another."""
        groups = (user or self.user).partition(":")[2]
        chroot = ["/usr/sbin/chroot", f"--userspec={user or self.user}", f"--groups={groups}", str(self.root)]
        mounted = ["unshare", "--mount", "sh", "-c", 'mount -t proc proc "$0/proc" && exec "$@"', str(self.root)]
        inside = ["env", "--chdir", self.folder, *command]
        path = {"PATH": _PATH, "LANG": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
        environment = {name: os.environ[name] for name in _PASSED if name in os.environ} | path | self.environment
        return subprocess.run(
            [*mounted, *chroot, *inside], env=environment, capture_output=True, text=True, check=False
        )


def build(dockerfile: Path, context: Path, base: Path, scratch: Path) -> Stage:
    """The last stage of a Dockerfile, all of whose stages begin from the tar of one base system."""
    stages: dict[str, Stage] = {}
    stage = Stage(scratch)
    for word, rest in _instructions(dockerfile.read_text()):
        if word == "FROM":
            name = rest.partition(" AS ")[2] or str(len(stages))
            stage = stages[name] = Stage(_unpacked(base, scratch / name))
        elif word == "ENV":
            for pair in shlex.split(rest):
                key, _, value = pair.partition("=")
                stage.environment[key] = _expanded(value, stage.environment)
        elif word == "WORKDIR":
            stage.folder = rest
            Path(f"{stage.root}{rest}").mkdir(parents=True, exist_ok=True)
        elif word == "USER":
            stage.user = rest
        elif word == "CMD":
            stage.command = shlex.split(rest.strip("[]").replace(",", " "))
        elif word == "COPY":
            _copy(rest, stage, context, stages)
        elif word == "RUN":
            done = stage.run(["sh", "-c", rest])
            assert done.returncode == 0, f"RUN {rest}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        else:
            assert word in {"ARG", "LABEL"}, f"{word} is not known here"
    return stage


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    lines = "\n".join(line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))
    for line in re.sub(r"\s*\\\n\s*", " ", lines).splitlines():
        word, _, rest = line.partition(" ")
        yield word, rest


def _unpacked(base: Path, root: Path) -> Path:
    root.mkdir()
    subprocess.run(["tar", "--extract", "--file", base, "--directory", root, "--exclude=./dev/*"], check=True)
    (root / "dev").mkdir(exist_ok=True)
    subprocess.run(["mknod", "-m", "666", root / "dev/null", "c", "1", "3"], check=True)
    subprocess.run(["mknod", "-m", "666", root / "dev/urandom", "c", "1", "9"], check=True)
    for file in _HOST:
        if Path(file).exists():
            Path(f"{root}{file}").parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, f"{root}{file}")
    return root


def _copy(rest: str, stage: Stage, context: Path, stages: Mapping[str, Stage]) -> None:
    words = shlex.split(rest)
    origin = context
    if words[0].startswith("--from="):
        origin = stages[words.pop(0).removeprefix("--from=")].root
    *sources, target = words
    place = Path(f"{stage.root}/{target}" if target.startswith("/") else f"{stage.root}{stage.folder}/{target}")
    for source in sources:
        found = origin / source.lstrip("/")
        if found.is_dir():
            shutil.copytree(
                found, place, symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            goal = place / found.name if target.endswith("/") else place
            goal.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(found, goal)


def _expanded(value: str, environment: Mapping[str, str]) -> str:
    known = {"PATH": _PATH} | dict(environment)
    return re.sub(r"\$(\w+)", lambda match: known.get(match[1], ""), value)
