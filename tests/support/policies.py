"""IAM policies, evaluated by an evaluator that others wrote: it knows AWS's actions, resources and condition keys."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

EVALUATOR = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "stac-sm/iam-simulate")
"""Where tests/integration/install_infra.sh puts it."""

_ACCOUNT = "123456789012"


def why_no_evaluator() -> str | None:
    """What is missing for the evaluator."""
    if shutil.which("node") is None or not (EVALUATOR / "installed").exists():
        return "no evaluator of IAM policies here: tests/integration/install_infra.sh installs it (needs node)"
    return None


@dataclass(frozen=True)
class Request:
    """What somebody wants to do."""

    action: str
    """Such as ``s3:GetObject``."""

    resource: str
    """ARN."""

    context: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Condition keys."""


def outcomes(
    policy: Mapping[str, Any], requests: list[Request], boundary: Mapping[str, Any] | None = None
) -> list[str]:
    """``Allowed``, ``ImplicitlyDenied`` or ``ExplicitlyDenied`` of each request under an identity's policy."""
    simulations = [
        {
            "request": {
                "principal": f"arn:aws:iam::{_ACCOUNT}:role/tested",
                "action": one.action,
                "resource": {"resource": one.resource, "accountId": _ACCOUNT},
                "contextVariables": dict(one.context),
            },
            "identityPolicies": [{"name": "tested", "policy": policy}],
            "serviceControlPolicies": [],
            "resourceControlPolicies": [],
            **({"resourcePolicy": boundary} if boundary else {}),
        }
        for one in requests
    ]
    command = ["node", Path(__file__).with_suffix(".mjs"), EVALUATOR / "node_modules/@cloud-copilot/iam-simulate"]
    done = subprocess.run(command, input=json.dumps(simulations), capture_output=True, text=True, check=True)
    found: list[str] = json.loads(done.stdout)
    return found
