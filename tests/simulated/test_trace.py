"""The same seed gives the same trace, byte for byte, in every process: with any PYTHONHASHSEED, on any Python.

Each Python of 3.11 or later that is found on the path or under pyenv runs it; what it imports comes from a site-packages of its
version, of this environment or of one that `make pythons` has made. One for which there is none is skipped."""

from __future__ import annotations

import os
import site
import subprocess
import sys
from functools import cache
from itertools import zip_longest
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
OLDEST = (3, 11)


@cache
def trace(seed: int, hash_seed: str, python: str = sys.executable, packages: str = "") -> list[str]:
    done = subprocess.run(
        [python, "-m", "tests.simulated.trace_of_seed", str(seed)],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed, **({"PYTHONPATH": packages} if packages else {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert not done.returncode, done.stderr
    return done.stdout.splitlines()


def same(one: list[str], other: list[str]) -> None:
    for number, (mine, theirs) in enumerate(zip_longest(one, other), 1):
        assert mine == theirs, f"line {number}"


def version_of(python: Path) -> tuple[int, int]:
    major, _, minor = python.name.removeprefix("python").partition(".")
    return int(major), int(minor)


def pythons() -> list[Path]:
    """One of each installation, by what they really are."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    places = [*map(Path, os.environ["PATH"].split(os.pathsep)), *pyenv.glob("versions/*/bin")]
    found = {python.resolve() for place in places if place != pyenv / "shims" for python in place.glob("python3.*[0-9]")}
    found = {python for python in found if python.name.count(".") == 1 and version_of(python) >= OLDEST}
    return sorted(found, key=lambda python: (version_of(python), python))


def packages_of(version: tuple[int, int]) -> str | None:
    """A site-packages for this version: what is compiled in it fits no other."""
    name = f"python{version[0]}.{version[1]}"
    own = [Path(place) for place in site.getsitepackages() if Path(place).parent.name == name]
    made = ROOT.glob(f".venv-*/lib/{name}/site-packages")
    return next((str(place) for place in (*own, *made)), None)


def test_processes_with_different_hash_seeds_see_the_same_world() -> None:
    one = trace(7, "1")
    for hash_seed in ("0", "4711"):
        same(one, trace(7, hash_seed))
    assert len(one) > 3_000
    kinds = {line.split()[2] for line in one[:-1]}
    assert {
        "send",
        "recv",
        "cut",
        "lost",
        "event",
        "fault",
        "crash",
        "boot",
        "pause",
        "resume",
        "read",
        "full",
        "corrupt",
    } <= kinds
    assert any("Granted" in line for line in one)
    assert trace(8, "1")[-1] != one[-1]


@pytest.mark.parametrize("python", [pytest.param(each, id=str(each).strip("/").replace("/", "-")) for each in pythons()])
def test_every_python_sees_the_same_world(python: Path) -> None:
    packages = packages_of(version_of(python))
    if packages is None:
        pytest.skip(f"what {python} should import is not installed for its version: `make pythons` does it")
    same(trace(7, "1"), trace(7, "2", str(python), packages))
