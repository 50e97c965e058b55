"""The causal trace: it changes nothing, each thing names what led to it, what was sealed is read, it is kept and filtered."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mesh.hello import Greeter
from mesh.keyring import Keyring
from mesh.replication.messages import Announce, Dot
from mesh.seal import Seal
from mesh.wire import encode, pack
from simulations.cluster import SECRET
from simulations.command import command
from simulations.faults import Crash, Fault, Partition, Pause
from simulations.network.network import Conditions
from simulations.registry import SCENARIOS, find
from simulations.scenarios.scenarios import run_locking
from simulations.sweeps.cases import Case
from simulations.traces.causal import INPUTS, Happening, Recorded, Recording, record
from simulations.traces.decoding import Decoder
from simulations.traces.tracing import Choice, around, causes, column, dump, load, nodes_of
from simulations.world import MS, SECOND, World
from tests.simulated.fake import build_fakes
from tests.simulated.test_sweep import SEVENS

PLAN: list[Fault] = [
    Partition(1 * SECOND, 2 * SECOND, ("n0", "n2")),
    Pause(4 * SECOND, 2 * SECOND, "n1"),
    Crash(8 * SECOND, SECOND, "n0", wipe=True),
]
SEED = 3


@cache
def recorded() -> Recorded:
    return record(SCENARIOS["locking"], SEED, PLAN, nodes=3)


def by_number() -> dict[int, Happening]:
    return {happening.n: happening for happening in recorded().happenings}


def of_kind(*kinds: str) -> list[tuple[Happening, Happening]]:
    """Each with its cause."""
    known = by_number()
    return [(each, known[each.cause]) for each in recorded().happenings if each.kind in kinds and each.cause]


# --- what is recorded -----------------------------------------------------------------------------------------------------


def test_a_recording_changes_nothing() -> None:
    assert recorded().result == SCENARIOS["locking"].run(SEED, PLAN, nodes=3)
    assert [each.n for each in recorded().happenings] == list(range(1, len(recorded().happenings) + 1))
    assert len(recorded().happenings) > recorded().result.lines > 3_000  # every line of the trace, and the timers


def test_what_comes_in_names_what_was_sent_also_after_a_pause() -> None:
    received = of_kind("recv", "read")
    assert len(received) == len([each for each in recorded().happenings if each.kind in ("recv", "read")]) > 1_000
    for receipt, sent in received:
        assert sent.kind == ("send" if receipt.kind == "recv" else "write")
        assert (sent.detail, sent.bytes) == (receipt.detail, receipt.bytes)
        assert sent.what.split()[-1] == receipt.node
        assert receipt.what.split()[-1] == sent.node
        assert sent.at < receipt.at
    waited = [receipt for receipt, sent in received if receipt.node == "n1" and receipt.at - sent.at > SECOND]
    assert {receipt.kind for receipt in waited} == {"recv", "read"}


def test_what_a_step_sends_and_tells_names_its_input() -> None:
    outputs = of_kind("send", "write", "event", "dial")
    assert len(outputs) > 1_000
    for output, cause in outputs:
        assert cause.kind in INPUTS
        if cause.kind == "refused":  # by the other machine
            assert cause.at < output.at
        else:
            assert (cause.node, cause.at) == (output.node, output.at)
    kinds = {(output.kind, cause.kind) for output, cause in outputs}
    assert {("send", "recv"), ("send", "timer"), ("send", "command"), ("event", "read"), ("event", "recv")} <= kinds


def test_a_timer_names_where_it_was_armed() -> None:
    timers = of_kind("timer")
    assert len(timers) == len([each for each in recorded().happenings if each.kind == "timer"]) > 500
    for timer, armed in timers:
        assert armed.kind in INPUTS
        assert armed.node == timer.node
        assert armed.n < timer.n
    assert {armed.kind for _, armed in timers} >= {"boot", "timer", "recv", "command"}
    assert {timer.what.split()[0] for timer, _ in timers} >= {"membership", "replication", "owner", "holder"}
    again = [timer.at - armed.at for timer, armed in timers if timer.what == armed.what == "replication digest"]
    assert min(again) > 100 * MS  # from one to the next: not the cause of the step that happened to be before it


def test_faults_name_the_place_in_the_plan_and_what_they_do_names_them() -> None:
    faults = [each for each in recorded().happenings if each.kind == "fault"]
    begun = [each for each in faults if each.what.startswith("plan[")]
    assert [each.what.partition("(")[0] for each in begun] == ["plan[0] Partition", "plan[1] Pause", "plan[2] Crash"]
    assert [each.cause for each in begun] == [0, 0, 0]
    ((pause, one),) = of_kind("pause")
    ((resume, other),) = of_kind("resume")
    ((crash, third),) = of_kind("crash")
    (boot, fourth) = of_kind("boot")[-1]
    assert (one, third) == (begun[1], begun[2])
    assert (other.what, fourth.what) == ("end of plan[1] Pause", "end of plan[2] Crash")
    assert [each.node for each in (pause, resume, crash, boot)] == ["n1", "n1", "n0", "n0"]


def test_a_grant_is_traced_back_to_the_command_that_asked_for_it() -> None:
    grant = next(each for each in recorded().happenings if each.detail.startswith("Granted(") and each.at > SECOND // 2)
    chain = causes(recorded().happenings, grant.n)
    assert chain[-1] == grant
    assert all(one.n == other.cause for one, other in pairwise(chain))
    said = [each.detail.partition("(")[0] for each in chain if each.kind == "recv"]
    assert {"Acquire", "Accept", "Accepted"} <= set(said)
    assert "command" in [each.kind for each in chain]


def test_everything_that_nodes_seal_is_read() -> None:
    details = [each.detail for each in recorded().happenings if each.kind in ("send", "cut", "write")]
    assert all(details)
    assert not [detail for detail in details if "cannot be read" in detail or "no frame" in detail]
    first = {detail.partition(",")[0] for detail in details}
    assert {"greeting", "handshake"} <= first
    assert any("n0#2" in detail for detail in details)  # sessions by the names of their processes


def test_a_first_contact_is_read() -> None:
    one, other = b"one".ljust(16), b"other".ljust(16)
    decoder, keyring = Decoder(), Keyring((SECRET,))
    seals = {session: Seal(keyring, session, bytes) for session in (one, other)}
    greeters = {session: Greeter(seal, bytes(32)) for session, seal in seals.items()}
    hello = greeters[one].hello()
    cookie = greeters[other].answer(seals[other].open(hello), "1:1", len(hello), 0)
    assert cookie is not None
    assert decoder.datagram(keyring, "a#1", "1:1", "2:2", hello) == "hello"
    assert decoder.datagram(keyring, "b#1", "2:2", "1:1", cookie) == "cookie"
    proof = greeters[one].prove(seals[one].open(cookie).plaintext, other, pack((encode(Announce((Dot(other, 7),))),), 0))
    assert decoder.datagram(keyring, "a#1", "1:1", "2:2", proof) == "proof, Announce(dots=[Dot(actor=b#1, n=7)])"
    again = seals[other].seal(b"what is this", one)
    assert decoder.datagram(keyring, "b#1", "2:2", "1:1", again).startswith("no frame: ")
    to_a_stranger = seals[other].seal(pack((), 0), b"nobody".ljust(16))
    assert decoder.datagram(keyring, "b#1", "2:2", "1:1", to_a_stranger) == f"{len(to_a_stranger)} bytes that cannot be read"


def test_duplicates_have_one_cause_and_what_is_cut_on_the_way_names_it() -> None:
    world, happenings = World(5, conditions=Conditions((5 * MS, 9 * MS), duplicate=1.0)), list[Happening]()
    Recording(world, happenings.append)
    nodes = build_fakes(world, "a", "b")
    nodes["a"].send(world.machines["b"].address, b"twice")
    world.run(20 * MS)
    nodes["a"].send(world.machines["b"].address, b"too late")
    world.kill("b", power=True)
    world.run(20 * MS)
    assert {each.detail for each in happenings if each.bytes} == {"5 bytes", "8 bytes"}  # nobody's secret
    kinds = [(each.kind, each.cause) for each in happenings if each.kind in ("send", "recv", "cut")]
    (first, _), (second, _) = [(each.n, each) for each in happenings if each.kind == "send"]
    assert kinds == [("send", 0), ("recv", first), ("recv", first), ("send", 0), ("cut", second), ("cut", second)]


def test_whoever_embeds_a_node_puts_down_his_own() -> None:
    """Through the world's trace, where it counts for the digest, or beside it."""
    world, happenings = World(1), list[Happening]()
    recording = Recording(world, happenings.append)
    world.after(5, world.trace.add, 5, "n1", "turn", "task 3")

    def turn() -> None:
        recording.add(6, "n1", "turn")
        world.after(3, recording.add, 9, "n1", "user")

    world.after(6, turn)
    world.after(7, recording.add, 7, "n1", "user", "order 17", b"paid")
    world.run(10)
    assert [tuple(each) for each in happenings] == [
        (1, 5, "n1", "turn", "task 3", "", 0, 0),
        (2, 6, "n1", "turn", "", "", 0, 0),
        (3, 7, "n1", "user", "order 17", "", 4, 0),
        (4, 9, "n1", "user", "", "", 0, 2),
    ]
    alone = World(1)
    alone.after(5, alone.trace.add, 5, "n1", "turn", "task 3")
    alone.run(10)
    assert alone.trace.digest() == world.trace.digest() != World(1).trace.digest()


def test_a_world_without_encoding_is_recorded_alike() -> None:
    """To the last word and size: its datagrams are not read there, but shown."""
    both: list[list[Happening]] = [[], []]
    for encoded, happenings in enumerate(both):

        def seen(world: World, sink: Callable[[Happening], None] = happenings.append) -> None:
            Recording(world, sink)

        run_locking(3, nodes=3, plan=[Pause(SECOND, SECOND, "n1")], duration=3 * SECOND, encoded=bool(encoded), seen=seen)
    assert both[0] == both[1]
    assert len(both[0]) > 1_000


def test_what_a_users_service_does_comes_of_its_turns_and_these_of_what_it_heard() -> None:
    service = find("examples.ledger:CAREFUL")
    result, happenings = record(service, 1, [])
    assert result.digest == service.run(1, []).digest
    known = {each.n: each for each in happenings}
    commands = [each for each in happenings if each.kind == "command"]
    assert len(commands) > 50
    assert {known[each.cause].kind for each in commands} <= {"turn", "event"}
    turns = {known[each.cause].kind for each in happenings if each.kind == "turn"}
    assert {"boot", "turn", "event"} <= turns
    assert not [each for each in happenings if "cannot be read" in each.detail]  # its own secret


# --- how it is read and kept ----------------------------------------------------------------------------------------------


def test_it_is_chosen_from_by_kind_node_and_time() -> None:
    happenings = recorded().happenings
    chosen = Choice(("send", "event"), ("n2",), since=2 * SECOND, until=6 * SECOND).of(happenings)
    assert {(each.kind, each.node) for each in chosen} == {("send", "n2"), ("event", "n2")}
    assert all(2 * SECOND <= each.at <= 6 * SECOND for each in chosen)
    assert Choice().of(happenings) == happenings
    said = Choice(text="Accept(key=lock/").of(happenings)
    assert {each.kind for each in said} >= {"send", "recv"}
    assert all("Accept(key=lock/" in each.detail for each in said)
    assert [each.what.split("(")[0] for each in Choice(text="plan[1] ").of(happenings)] == [
        "plan[1] Pause",
        "end of plan[1] Pause",
    ]
    with pytest.raises(ValueError, match="no kind 'sned' in this trace; there are accept, boot"):
        Choice(("sned",)).of(happenings)
    with pytest.raises(ValueError, match=r"no node 'n7' in this trace; there are \*, n0, n1, n2"):
        Choice((), ("n7",)).of(happenings)
    with pytest.raises(ValueError, match="no event 999999 in this trace"):
        causes(happenings, 999_999)


def test_lines_of_json_are_read_as_they_were_written() -> None:
    lines = [dump(each) for each in recorded().happenings]
    assert list(load(lines)) == recorded().happenings
    assert list(json.loads(lines[0])) == ["n", "at", "node", "kind", "what", "detail", "bytes", "cause"]
    assert json.loads(lines[0])["cause"] is None
    for broken in (
        "nothing",
        "[]",
        '{"n": 1}',
        lines[0].replace('"n": 1', '"n": "1"'),
        lines[0].replace('"at": 0', '"at": true'),
    ):
        with pytest.raises(ValueError, match="line 2 is no event of a trace"):
            list(load([lines[0], broken]))


def test_a_violation_is_shown_round_the_nodes_that_it_names() -> None:
    result, happenings = recorded()
    broken = Recorded(type(result)("x", 1, 3, (), "", "L1: <n2#1> and claim 4 of n10 on lock/n0"), happenings)
    assert nodes_of(broken) == ["n2"]
    assert {each.node for each in around(broken)} <= {"n2", "*"} | {each.node for each in happenings if each.kind == "fault"}
    assert len(around(broken, 7)) == 7
    nowhere = Recorded(type(result)("x", 1, 3, (), "", "KeyError: what"), happenings)
    assert nodes_of(nowhere) == [happenings[-1].node]


# --- the command ----------------------------------------------------------------------------------------------------------


def mesh_simulate(*arguments: str) -> Result:
    return CliRunner().invoke(command, arguments)


def test_the_command_shows_saves_and_reads_a_trace(tmp_path: Path) -> None:
    case, saved = tmp_path / "case.json", tmp_path / "case.jsonl"
    case.write_text(Case.of(recorded().result).dump())
    shown = mesh_simulate("trace", str(case), "--save", str(saved), "--kind", "fault", "--kind", "event", "--last", "40")
    assert "Granted(" in mesh_simulate("trace", str(case), "--text", "Granted(", "--last", "1").stdout.splitlines()[1]
    assert shown.exit_code == 0, shown.output
    head, *columns = shown.stdout.splitlines()
    assert head.split() == ["n", "cause", "true", "time,", "s", "node", "event", "with", "what"]
    kept = list(load(saved.read_text().splitlines()))
    assert kept == [each for each in recorded().happenings if each.kind in ("fault", "event")]
    assert columns == [column(each) for each in kept[-40:]]
    assert mesh_simulate("trace", str(case), "--save", str(saved), "--until", "2").exit_code == 0
    grant = next(each for each in recorded().happenings if each.detail.startswith("Granted("))
    led = mesh_simulate("trace", str(saved), "--causes", str(grant.n), "--json")
    assert [json.loads(line)["n"] for line in led.stdout.splitlines()] == [
        each.n for each in causes(recorded().happenings, grant.n)
    ]
    assert column(grant) in mesh_simulate("trace", str(saved), "--kind", "event", "--since", "0.1").stdout.splitlines()
    for arguments, says in [
        ((str(saved), "--kind", "sned"), "mesh: no kind 'sned' in this trace; there are"),
        ((str(saved), "--causes", "9999999"), "mesh: no event 9999999 in this trace"),
        ((str(case.with_suffix(".jsonl.jsonl")),), "No such file"),
        (("lucking",), "mesh: no scenario 'lucking'"),
    ]:
        wrong = mesh_simulate("trace", *arguments)
        assert (wrong.exit_code, len(wrong.stderr.splitlines())) == (2, 1)
        assert says in wrong.stderr


def test_a_run_that_breaks_something_shows_the_last_of_it() -> None:
    shown = mesh_simulate("run", SEVENS.name, "--seed", "3", "--nodes", "3")
    assert shown.exit_code == 1
    *_, event, more, broken, _ = shown.stdout.splitlines()
    assert event.split()[:4] == ["1", "0.000000003", "n0", "command"]
    assert more == f"more: mesh simulate trace {SEVENS.name} --seed 3 --nodes 3 --causes 1 --last 40"
    assert broken == "broken: X7: a pause (seed 3)"
    again = mesh_simulate(*more.removeprefix("more: mesh simulate ").split())
    assert again.exit_code == 1
    assert event in again.stdout
    assert broken in again.stdout
