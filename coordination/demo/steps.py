"""The steps, in order: each does one thing to the mesh and reads back from another process what it claims.

Three voters start `--fresh`, so they vote at once. The one that is killed and restarted finds in its state directory what it
promised, and votes at once, too."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import click
import trio

from coordination import Client, MeshError, connect
from coordination.demo.programs import DemoFailed, Program, Programs, free_addresses
from coordination.output import as_json, say

__all__ = ["perform"]

STEP_SECONDS = 20.0
"""More than any step takes on a machine that is not starved."""
LOOK_EVERY = 0.01
WORKERS = 3
ROUNDS = 200
ADDS = 150
HELD_TTL = 2.0
KEPT = "demo/kept"

T = TypeVar("T")


@dataclass
class Stage:
    """What the steps share."""

    programs: Programs
    nursery: trio.Nursery
    addresses: Sequence[str]
    names: tuple[str, ...] = ("n1", "n2", "n3")
    nodes: dict[str, Program] = field(default_factory=dict)
    clients: dict[str, Client] = field(default_factory=dict)
    down: str = ""
    """The node that was killed."""

    async def start(self, name: str, *, fresh: bool) -> None:
        """Start a node and connect to it."""
        index = self.names.index(name)
        arguments = ["node", "--name", name, "--bind", self.addresses[index], "--expect", str(len(self.names))]
        for address in self.addresses:
            arguments += ["--seed", address]
        arguments += ["--state-dir", str(self.programs.directory / name), "--profile", "local", "--json"]
        if fresh:
            arguments.append("--fresh")
        self.nodes[name] = node = await self.programs.start(f"node {name}", "coordination.cli", *arguments)
        message = await node.read()
        expect(message.get("event") == "up", f"node {name} said {message}")
        await self.nursery.start(self._attend, name)

    async def _attend(self, name: str, *, task_status: trio.TaskStatus[None]) -> None:
        """Keep a client of a node open until the end."""
        async with connect(self.addresses[self.names.index(name)], secret=self.programs.secret) as client:
            self.clients[name] = client
            task_status.started()
            await trio.sleep_forever()

    async def worker(self, job: str, name: str, **arguments: Any) -> Program:
        told = json.dumps({"name": name, "seeds": list(self.addresses), **arguments})
        return await self.programs.start(f"worker {name}", "coordination.demo.worker", job, told)

    @property
    def living(self) -> list[str]:
        return [name for name in self.names if name != self.down]


def expect(condition: bool, otherwise: str) -> None:
    if not condition:
        raise DemoFailed(otherwise)


async def see(look: Callable[[], Awaitable[T]], wanted: Callable[[T], bool], within: float, what: str) -> float:
    """Look until it is as wanted; the seconds that took."""
    began = trio.current_time()
    seen: object = None
    with trio.move_on_after(within):
        while True:
            value = await look()
            seen = value
            if wanted(value):
                return trio.current_time() - began
            await trio.sleep(LOOK_EVERY)
    raise DemoFailed(f"{what}: not within {within:g} s; last seen: {seen!r}")


# --- the steps: each answers with one line that says what was seen ----------------------------------------------------


async def start_nodes(stage: Stage) -> str:
    """Three processes found a mesh"""
    async with trio.open_nursery() as nursery:
        for name in stage.names:
            nursery.start_soon(lambda name=name: stage.start(name, fresh=True))  # type: ignore[misc]
    for name in stage.names:
        client = stage.clients[name]
        await see(
            client.members,
            lambda members: [member.name for member in members if member.state == "alive"] == list(stage.names),
            STEP_SECONDS,
            f"{name} knows all three",
        )
    return f"each of {', '.join(stage.names)} lists all three as alive"


async def put_and_watch(stage: Stage) -> str:
    """A key put on one is seen by a watcher on another"""
    async with stage.clients["n2"].watch(key="demo/greeting") as changes:
        began = trio.current_time()
        await stage.clients["n1"].kv.put("demo/greeting", {"text": "hello"})
        event = await anext(aiter(changes))
        took = trio.current_time() - began
    expect((event.kind, event.value) == ("put", {"text": "hello"}), f"the watcher saw {event}")
    expect(event.origin == "n1", f"the watcher was told that {event.origin} wrote it")
    return f"put on n1, event on n2 after {took * 1000:.1f} ms"


async def expire(stage: Stage) -> str:
    """A key with a TTL is gone everywhere"""
    began = trio.current_time()
    await stage.clients["n3"].kv.put("demo/brief", 1, ttl=1.0)
    for name in stage.names:
        client = stage.clients[name]
        await see(lambda c=client: c.kv.get("demo/brief"), lambda value: value == 1, 0.9, f"{name} has the key")  # type: ignore[misc]
    for name in stage.names:
        client = stage.clients[name]
        await see(lambda c=client: c.kv.get("demo/brief"), lambda value: value is None, 3, f"{name} lets it go")  # type: ignore[misc]
    took = trio.current_time() - began
    expect(took >= 1.0, f"it was gone after {took:.2f} s, before its time")
    return f"seen on all three, and gone from all three {took:.2f} s after a put with ttl 1.0"


async def increment(stage: Stage) -> str:
    """3 x 200 read-increment-write rounds on a number in a file, each under the lock"""
    file = stage.programs.directory / "number"
    file.write_text("0")
    workers = [await stage.worker("increment", f"w{n}", file=str(file), rounds=ROUNDS) for n in range(WORKERS)]
    reports = [await worker.read() for worker in workers]
    await finish(workers)
    number = int(file.read_text())
    expect(number == WORKERS * ROUNDS, f"the file says {number}: {WORKERS * ROUNDS - number} increments were lost")
    expect(all(report["rising"] for report in reports), f"a worker saw its tokens fall: {reports}")
    return f"the file says {number}, none lost; tokens only rose"


async def finish(workers: list[Program]) -> None:
    async with trio.open_nursery() as nursery:
        for worker in workers:
            nursery.start_soon(worker.end_input)


async def run_command(stage: Stage) -> str:
    """`mesh lock NAME -- COMMAND` runs a command under a lock"""
    result = await trio.run_process(
        [
            *python_mesh(), "lock", "demo/command", "--node", stage.addresses[1], "--",
            "sh", "-c", 'echo "token $MESH_TOKEN"; exit 7',
        ],
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        env=environment(stage),
    )  # fmt: skip
    match = re.fullmatch(r"token (\d+)\n", result.stdout.decode())
    expect(match is not None, f"the command printed {result.stdout!r}; {result.stderr.decode().strip()}")
    expect(result.returncode == 7, f"the command's exit code 7 came back as {result.returncode}")
    explanation = await stage.clients["n3"].explain("demo/command")
    expect(explanation.holder is None, f"the lock is still held by {explanation.holder}")
    assert match is not None
    return f"it ran with MESH_TOKEN={match[1]}, its exit code 7 came back, and the lock is free"


def python_mesh() -> list[str]:
    return [sys.executable, "-m", "coordination.cli"]


def environment(stage: Stage) -> dict[str, str]:
    return {**os.environ, "MESH_SECRET": stage.programs.secret}


async def count(stage: Stage) -> str:
    """Workers add to one counter while one of them is stopped and resumed"""
    workers = [await stage.worker("count", f"c{n}", adds=ADDS, each=0.005) for n in range(WORKERS)]
    stopped = workers[1]
    await stopped.read()
    stopped.send(signal.SIGSTOP)
    await workers[0].read()
    await workers[0].read()  # the others go on to their end
    stopped.send(signal.SIGCONT)
    await stopped.read()
    await workers[2].read()
    await workers[2].read()
    total = WORKERS * ADDS
    for name in stage.names:
        counter = stage.clients[name].counter("demo/orders")
        await see(counter.value, lambda value: value == total, STEP_SECONDS, f"{name} counts {total}")
    await finish(workers)
    return f"all three nodes count {total}, as many as were added"


async def kill_holder(stage: Stage) -> str:
    """kill -9 of a lock's holder: the next one has a higher token after the ttl"""
    holder = await stage.worker("hold", "h0", lock="demo/held", ttl=HELD_TTL)
    first = (await holder.read())["token"]
    explanation = await stage.clients["n2"].explain("demo/held")
    expect(explanation.holder == "h0", f"before the kill, the holder is {explanation.holder}")
    await holder.kill()
    began = trio.current_time()
    async with stage.clients["n1"].lock("demo/held", ttl=HELD_TTL) as held:
        took = trio.current_time() - began
        expect(held.token > first, f"the token went from {first} to {held.token}")
    expect(took <= HELD_TTL + 0.3, f"it took {took:.2f} s, more than the ttl of {HELD_TTL:g} s and 0.3 s")
    return f"granted anew {took:.2f} s after the kill (ttl {HELD_TTL:g} s), token {first} -> {held.token}"


async def kill_owner(stage: Stage) -> str:
    """kill -9 of the node that serves a lock: locking goes on"""
    owner = (await stage.clients["n1"].explain("demo/number")).owner
    expect(owner in stage.names, f"the owner is {owner}")
    assert owner is not None
    async with stage.clients[next(name for name in stage.names if name != owner)].lock("demo/number") as held:
        before = held.token
    await stage.nodes[owner].kill()
    stage.down = owner
    began = trio.current_time()
    client = stage.clients[stage.living[0]]
    async with client.lock("demo/number") as held:
        took = trio.current_time() - began
        expect(held.token > before, f"the token went from {before} to {held.token}")
    for name in stage.living:
        await see(
            stage.clients[name].members,
            lambda members: any(member.name == owner and member.state == "dead" for member in members),
            STEP_SECONDS,
            f"{name} knows that {owner} is dead",
        )
    known = trio.current_time() - began
    await client.kv.put(KEPT, owner)
    return f"{owner} killed; the lock granted after {took * 1000:.0f} ms; its death known to both others by {known:.2f} s"


async def restart_owner(stage: Stage) -> str:
    """The killed node starts again: it catches up, and votes on what it remembers"""
    name = stage.down
    await stage.start(name, fresh=False)
    client = stage.clients[name]
    caught = await see(lambda: client.kv.get(KEPT), lambda value: value == name, STEP_SECONDS, f"{name} has the missed key")
    total = WORKERS * ADDS
    await see(client.counter("demo/orders").value, lambda value: value == total, STEP_SECONDS, f"{name} counts {total}")
    explanation = await client.explain("demo/number")
    expect(not explanation.abstaining, f"{explanation.abstaining} abstains, though its state directory was kept")
    async with client.lock("demo/number") as held:
        token = held.token
    await see(
        lambda: client.explain("demo/number"),
        lambda explanation: any(voter == name and accepted != "none" for voter, _, accepted in explanation.ballots),
        STEP_SECONDS,
        f"{name} has accepted grants",
    )
    return f"it had what it missed after {caught * 1000:.0f} ms, and votes at once; through it the lock is had, token {token}"


STEPS = (
    start_nodes, put_and_watch, expire, increment, run_command, count, kill_holder, kill_owner, restart_owner,
)  # fmt: skip


async def perform(json_output: bool) -> bool:
    """All steps, narrated; whether every one held. Stops at the first that does not."""
    interrupted: list[int] = []
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGHUP) as signals:
        async with trio.open_nursery() as nursery:

            async def end_on_signal() -> None:
                async for number in signals:
                    interrupted.append(number)
                    nursery.cancel_scope.cancel()

            nursery.start_soon(end_on_signal)
            held = False
            began = trio.current_time()
            if not json_output:
                say("Three nodes, each a process of its own, on loopback.\n")
            async with Programs.opened(secrets.token_urlsafe(32)) as programs, trio.open_nursery() as clients:
                held = await perform_on(Stage(programs, clients, free_addresses(3)), json_output)
                clients.cancel_scope.cancel()
            held = held and not programs.running()
            if held and json_output:
                say(as_json({"ok": True, "steps": len(STEPS), "seconds": round(trio.current_time() - began, 3)}))
            elif held:
                took = trio.current_time() - began
                say(f"\nAll {len(STEPS)} steps held, in {took:.1f} s, and no process is left behind.")
            nursery.cancel_scope.cancel()
    return held and not interrupted


async def perform_on(stage: Stage, json_output: bool) -> bool:
    for number, step in enumerate(STEPS, 1):
        title = (step.__doc__ or "").strip()
        at = trio.current_time()
        ok, detail = True, ""
        try:
            with trio.fail_after(STEP_SECONDS):
                detail = await step(stage)
        except trio.TooSlowError:
            ok, detail = False, f"not done within {STEP_SECONDS:g} s"
        except (DemoFailed, MeshError) as problem:
            ok, detail = False, str(problem)
        except BaseExceptionGroup as group:
            told = group.subgroup((DemoFailed, MeshError))
            if told is None:
                raise
            ok, detail = False, "; ".join(str(each) for each in told.exceptions)
        took = trio.current_time() - at
        if json_output:
            say(as_json({"step": number, "title": title, "ok": ok, "seconds": round(took, 3), "seen": detail}))
        else:
            mark = click.style("ok", fg="green") if ok else click.style("FAILED", fg="red", bold=True)
            say(f"{number}. {title}\n   {mark}, {took:.2f} s: {detail}")
        if not ok:
            return False
    return True
