"""Commands without a mesh: help, and one clear line for what is wrong."""

from __future__ import annotations

import json
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from coordination.demo.programs import free_addresses
from tests.processes.nodes import SECRET, mesh

COMMANDS = [
    "node",
    "demo",
    "members",
    "kv",
    "kv get",
    "kv put",
    "kv delete",
    "kv scan",
    "kv touch",
    "kv clear",
    "kv batch",
    "lock",
    "keygen",
    "simulate",
]
COMMANDS += ["locks", "explain", "atomic", "atomic get", "atomic set", "atomic cas", "atomic add"]
COMMANDS += ["counter", "counter get", "counter add", "counter set", "watch"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command: str) -> None:
    done = mesh(*command.split(), "--help")
    assert done.returncode == 0
    assert "Example" in done.stdout
    assert f"mesh {command.split(maxsplit=1)[0]}" in done.stdout


def test_help_is_quick() -> None:
    """Measured in the processor's time, and in what it loads: the machine may be busy with other tests."""

    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert mesh("--help").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    seconds()
    took = [seconds() for _ in range(5)]
    assert min(took) < 0.3, took
    loaded = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "coordination.cli", "--help"], capture_output=True, text=True, check=True
    ).stderr
    names = {line.rpartition("|")[2].strip().partition(".")[0] for line in loaded.splitlines()}
    assert "click" in names
    assert names.isdisjoint({"trio", "cbor2", "cryptography", "sqlite3"})


def test_keygen(tmp_path: Path) -> None:
    first, second = mesh("keygen").stdout.strip(), mesh("keygen").stdout.strip()
    assert len(first.encode()) >= 32 and first != second
    assert len(json.loads(mesh("keygen", "--json").stdout)["secret"]) >= 32
    file = tmp_path / "secret"
    assert mesh("keygen", "--out", str(file)).returncode == 0
    assert file.stat().st_mode & 0o777 == 0o600
    done = mesh("keygen", "--out", str(file))
    assert done.returncode == 1 and "another file" in done.stderr


def error(*arguments: str, secret: str | None = SECRET) -> tuple[int, str]:
    done = mesh(*arguments, secret=secret)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr.strip()


def test_bad_input(tmp_path: Path) -> None:
    nobody = free_addresses(1)[0]
    broken = tmp_path / "batch"
    broken.write_text('{"put": "k", "value": 1}\n{"put": "k"}\n')
    state = ["--state-dir", str(tmp_path / "state")]
    cases: list[tuple[list[str], int, str]] = [
        (["--nonsense"], 2, "No such option"),
        (["frobnicate"], 2, "No such command"),
        (["node", "--no-such-option"], 2, "No such option"),
        (["node", "--name", "a b", *state], 1, "the name 'a b' is refused"),
        (["node", "--name", "a", "--bind", "nowhere", *state], 1, "write host:port"),
        (["node", "--name", "a", "--bind", "127.0.0.1:0", "--tag", "x", *state], 2, "KEY=VALUE"),
        (["node", "--name", "a", "--bind", "192.0.2.1:7946", *state], 1, "no interface of this machine has that address"),
        (["node", "--name", "a", "--bind", "127.0.0.1:0", "--expect", "3", *state], 1, "needs the seeds of all founders"),
        (["node", "--name", "a", "--bind", "127.0.0.1:0", "--state-dir", ""], 1, "a directory of this node's own"),
        (["kv", "get", "k", "--node", nobody], 1, "refused"),
        (["kv", "put", "k", "{", "--parse", "--node", nobody], 2, "is not JSON"),
        (["kv", "put", "k", "v", "--acks", "all", "--node", nobody], 2, "neither a number nor 'majority'"),
        (["kv", "batch", str(broken), "--node", nobody], 2, "line 2 is neither"),
        (["members", "--node", "nonsense"], 1, "host:port"),
        (["members", "--secret-file", str(tmp_path / "none")], 2, "does not exist"),
    ]
    for arguments, code, says in cases:
        got, told = error(*arguments)
        assert got == code, (arguments, told)
        assert says in told, (arguments, told)
        if code == 1:
            assert len(told.splitlines()) == 1 and told.startswith("mesh: "), told


def test_a_secret_that_is_too_short_or_missing(tmp_path: Path) -> None:
    state = ["--state-dir", str(tmp_path / "state")]
    code, told = error("node", "--name", "a", "--bind", "127.0.0.1:0", *state, secret="short")
    assert code == 1 and "at least 32" in told and "mesh keygen" in told
    code, told = error("node", "--name", "a", "--bind", "192.0.2.1:7946", *state, secret=None)
    assert code == 1 and "give a secret" in told


def test_a_taken_port(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, told = error("node", "--name", "a", "--bind", address, "--state-dir", str(tmp_path / "state"))
    assert code == 1
    assert told == f"mesh: cannot bind '{address}': the port is taken by another process: choose another, or 0 for any"


def test_an_unreachable_seed(tmp_path: Path) -> None:
    nobody = free_addresses(1)[0]
    code, told = error("node", "--name", "a", "--bind", "127.0.0.1:0", "--seed", nobody, "--state-dir", str(tmp_path / "state"))
    assert code == 1
    assert told == f"mesh: could not join within 10 s: {nobody} refused the connection (is a node running there?)"
