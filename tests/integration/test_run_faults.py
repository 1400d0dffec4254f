"""A run that is killed, starved or cut off at a random moment: the same command makes the rest, byte for byte.

``STAC_SM_FAULT_ROUNDS=100 pytest tests/integration/test_run_faults.py`` makes more rounds than one of each kind.
"""

from __future__ import annotations

import os
import random
from dataclasses import replace

import pytest

from tests.support.faults import KINDS, one_round, prepare

pytestmark = pytest.mark.integration
ROUNDS = int(os.environ.get("STAC_SM_FAULT_ROUNDS", len(KINDS)))


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("bench"))


@pytest.mark.parametrize("number", range(ROUNDS))
def test_after_any_fault_the_same_command_makes_the_rest(bench, tmp_path, number):
    kind = list(KINDS)[number % len(KINDS)]
    seed = int(os.environ.get("STAC_SM_FAULT_SEED", random.randrange(1 << 20)))
    found = one_round(bench, kind, seed, tmp_path / "round")
    assert not found.wrong, replace(found)
