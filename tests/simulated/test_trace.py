"""The same seed gives the same trace, byte for byte, in another process with another PYTHONHASHSEED."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def trace(seed: int, hash_seed: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulated.trace_of_seed", str(seed)],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout.splitlines()


def test_two_processes_with_different_hash_seeds_see_the_same_world() -> None:
    one, other = trace(7, "1"), trace(7, "4711")
    first = next((n for n, (mine, theirs) in enumerate(zip(one, other, strict=False)) if mine != theirs), None)
    assert first is None, f"line {first}:\n{one[first]}\n{other[first]}"
    assert len(one) == len(other) > 3_000
    kinds = {line.split()[2] for line in one[:-1]}
    assert {"send", "recv", "cut", "lost", "event", "fault", "crash", "boot", "pause", "resume", "read"} <= kinds
    assert any("Granted" in line for line in one)
    assert trace(8, "1")[-1] != one[-1]
