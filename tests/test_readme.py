"""Every Python snippet of the README runs, and shows what it says."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import trio

from coordination import Peer, connect, open_peer
from coordination.demo.programs import free_addresses

README = (Path(__file__).parent.parent / "README.md").read_text()
SNIPPETS: list[str] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
SECRET = "a secret of the tests, at least 32 bytes"
PORTS = ("127.0.0.1:7946", "127.0.0.1:7947", "127.0.0.1:7948")


def compiled(snippet: str, **names: Any) -> Callable[[], Coroutine[Any, Any, None]]:
    """The snippet as an async function."""
    source = "async def snippet():\n" + textwrap.indent(snippet, "    ")
    scope = {"trio": trio, "SECRET": SECRET, "open_peer": open_peer, "connect": connect, **names}
    exec(compile(source, "README.md", "exec"), scope)
    function: Callable[[], Coroutine[Any, Any, None]] = scope["snippet"]
    return function


def snippet_with(text: str) -> str:
    (found,) = [snippet for snippet in SNIPPETS if text in snippet]
    return found


def test_a_whole_program(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(snippet_with("trio.run(main)"), "README.md", "exec"), {"__name__": "readme"})
    assert capsys.readouterr().out == "{'rps': 10}\nTrue True\n"


IN_A_MESH_OF_ONE = {
    "peer.kv.put_many": ["config/a 1", "config/b 2"],
    "peer.watch(prefix=": ["put config/a 1", "put config/b 2", "synced config/ None"],
    "peer.watch_members(": [r"\['solo'\]", "joined solo alive"],
    "peer.watch(counter=": ["2 True"],
    "peer.subscribe(": [r"solo \{'id': 7\} False", "solo all hands True", "solo well", r"\{\}"],
    "lock.try_acquire()": [r"\d+ 9\.\d+", "True"],
    "peer.rwlock(": [r"None \['downloads'\]"],
    "peer.election(": [r"solo \{'at': '10\.0\.0\.1:80'\}", "True"],
    "peer.barrier(": ["monday is done"],
    "Fence()": ["lock/jobs/report"],
    "peer.lease(": ["active", "None", r"True 9\.\d+", "False"],
    "orders = peer.counter(": ["0", "100 True"],
    "peer.gauge(": [r"3 \{'solo': 3\}", "98"],
    "peer.limiter(": ["handled 1"],
    "peer.atomic(": ["True 8", "1"],
    "peer.explain(": [r"solo +\['solo'\]", r"\('solo',\) solo None \(\)", r"\d+"],
}


@pytest.mark.parametrize("text", IN_A_MESH_OF_ONE)
async def test_in_a_mesh_of_one(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    async with open_peer(name="solo", tags={"role": "db"}) as peer:
        await peer.kv.put_many({"config/a": 1, "config/b": 2})
        with trio.fail_after(5):
            await compiled(snippet_with(text), peer=peer)()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(IN_A_MESH_OF_ONE[text]), lines
    for line, wanted in zip(lines, IN_A_MESH_OF_ONE[text], strict=True):
        assert re.fullmatch(wanted, line), line


async def founders(names: tuple[str, ...], addresses: list[str], nursery: trio.Nursery) -> dict[str, Peer]:
    """Peers that found a mesh together, open until the nursery is cancelled."""
    peers: dict[str, Peer] = {}

    async def run(name: str, bind: str, *, task_status: trio.TaskStatus[None]) -> None:
        async with open_peer(
            name=name, bind=bind, seeds=addresses, expect=len(addresses), secret=SECRET, fresh=True, profile="local"
        ) as peer:
            peers[name] = peer
            task_status.started()
            await trio.sleep_forever()

    for name, bind in zip(names, addresses, strict=False):
        await nursery.start(run, name, bind)
    return peers


async def test_three_founders(capsys: pytest.CaptureFixture[str]) -> None:
    addresses = list(free_addresses(3))
    snippet = snippet_with("expect=3")
    for port, address in zip(PORTS, reversed(addresses), strict=True):
        snippet = snippet.replace(port, address)
    with trio.fail_after(15):
        async with trio.open_nursery() as nursery:
            others = await founders(("web-2", "web-3"), addresses, nursery)
            await compiled(snippet)()
            assert {member.name for member in others["web-2"].members} == {"web-1", "web-2", "web-3"}
            nursery.cancel_scope.cancel()
    assert "('web-1', <State.ALIVE: 'alive'>)" in capsys.readouterr().out


async def test_a_thin_client(capsys: pytest.CaptureFixture[str]) -> None:
    addresses = list(free_addresses(2))
    snippet = snippet_with("connect(")
    for port, address in zip(PORTS, addresses, strict=False):
        snippet = snippet.replace(port, address)
    with trio.fail_after(15):
        async with trio.open_nursery() as nursery:
            await founders(("a", "b"), addresses, nursery)
            await compiled(snippet)()
            nursery.cancel_scope.cancel()
    first, second = capsys.readouterr().out.splitlines()
    assert first == "hello"
    assert int(second) > 0


def test_every_snippet_is_tested() -> None:
    tested = ["trio.run(main)", "expect=3", "connect(", *IN_A_MESH_OF_ONE]
    assert all(any(text in snippet for text in tested) for snippet in SNIPPETS)
    assert len(SNIPPETS) == len(tested)
