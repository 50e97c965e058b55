"""Record everything, replay it: to the same node, to another, to one restarted (W6); and no (key, nonce) pair comes twice."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from mesh.directives import Dial, Greet, Greeted, OtherSecret, Write
from mesh.hello import COOKIE_INTERVAL, COOKIE_LIFE
from mesh.outputs import Connect, Publish, StreamClose, StreamWrite, Transmit
from mesh.seal import Kind
from mesh.streams import HANDSHAKE
from tests.mesh.node_world import SECOND, Datagram, Net, Process, met, ups
from tests.mesh.nonce_book import NonceBook
from tests.mesh.sources import OTHER_SECRET, entropy, ring
from tests.mesh.toys import Ask, Note

MINUTE = 60 * SECOND


def busy_day(seed: object = 0) -> tuple[Net, list[Process]]:
    """Three that know each other and one that they meet by greeting and by proof, in all ways of saying something."""
    net = Net(seed)
    a, b, c = met(net, "a", "b", "c")
    d = net.process("d")
    d.command(Greet(a.address))
    b.know(d)
    b.send("d", Ask(100, 20))
    c.command(Dial(d.address, "dialled"))
    for number in range(12):
        for process in (a, b, c):
            for to in "abcd":
                process.send(to, Ask(number, 200 * number))
        c.command(Write(ups(c)[0].channel, Note(number, b"over the stream")))
        net.run(SECOND // 4)
    a.forget(c)
    a.know(c)
    c.send("a", Note(200, b"after it was forgotten"))
    b.forget(a)
    a.send("b", Note(201, bytes(20)))
    d.command(Greet(b.address))
    assert {datagram.data[1] for datagram in net.datagrams} == {Kind.PAIR, Kind.PROOF, Kind.HELLO, Kind.COOKIE}
    assert len(net.conversations) >= 4 and all(talk.forth and talk.back for talk in net.conversations)
    assert len(net.datagrams) > 100
    return net, [a, b, c, d]


def replay_datagrams(net: Net, to: Process, sources: Callable[[Datagram], str]) -> int:
    """Every recorded datagram to one process: nothing may change, and no answer but cookies within their rule."""
    before, asked_at = to.state(), dict[str, int]()
    answers = 0
    for datagram in list(net.datagrams):
        source = sources(datagram)
        for output in to.feed(datagram.data, source):
            if isinstance(output, Publish) and isinstance(output.event, OtherSecret):
                continue  # it is told that somebody uses another secret, and does nothing about it
            assert isinstance(output, Transmit), output
            assert output.data[1] == Kind.COOKIE and output.address == source and len(output.data) <= len(datagram.data)
            assert net.now - asked_at.get(source, -COOKIE_INTERVAL) >= COOKIE_INTERVAL
            asked_at[source] = net.now
            answers += 1
        assert to.state() == before
    return answers


def replay_streams(net: Net, to: Process) -> None:
    """What diallers said to an accepting end, and what acceptors said to a dialling one: whole and piece by piece."""
    heard, events, known = len(to.toy.heard), len(to.toy.events), to.state()
    for talk in list(net.conversations):
        for said in (talk.forth, talk.back):
            for pieces in (said, [b"".join(said)]):
                _replay_stream(net, to, pieces, None)
                _replay_stream(net, to, pieces, "10.66.66.66:1")
    assert len(to.toy.heard) == heard
    told = to.toy.events[events:]
    assert {type(event).__name__ for event in told} <= {"ChannelDown"}
    assert [getattr(event, "session") for event in told] == [None] * len(told), "none of them came up"  # noqa: B009
    del to.toy.events[events:]
    assert to.state() == known


def _replay_stream(net: Net, to: Process, pieces: list[bytes], dialled: str | None) -> None:
    """The bytes, spoken by somebody who knows no secret, to a stream that this process accepts or dials."""
    if dialled is None:
        stream = to.node.on_accept("10.66.66.66:1", net.instant())
    else:
        to.node.command(to.toy, (Dial(dialled, "replayed"),), net.instant())
        (stream,) = [output.stream for output in to.node.take() if isinstance(output, Connect)]
        to.node.on_connected(stream, net.instant())
    for piece in pieces:
        to.node.on_stream(stream, piece, net.instant())
        for output in to.node.take():
            assert isinstance(output, StreamWrite | StreamClose | Publish)
    to.node.on_stream_end(stream, "reset", net.instant())
    to.node.take()


@pytest.mark.parametrize("later", [0, SECOND, COOKIE_LIFE, 5 * MINUTE], ids=["at once", "1 s", "10 s", "5 min"])
def test_all_that_was_recorded_replayed_to_everyone_changes_nothing(later: int) -> None:
    net, processes = busy_day()
    net.run(later)
    for process in processes:
        replay_datagrams(net, process, lambda datagram: datagram.source)
        replay_datagrams(net, process, lambda datagram: "10.66.66.66:53")
        replay_streams(net, process)
    net.run(HANDSHAKE + SECOND)
    a, b = processes[:2]
    b.know(a)
    a.send("b", Note(999, b""))
    assert b.toy.numbers()[-1] == 999, "they still hear each other"


def test_replayed_to_a_restarted_node_and_to_a_newcomer_it_changes_nothing() -> None:
    net, (a, b, c, d) = busy_day()
    net.hold = lambda datagram: True
    restarted = net.process("a", address=a.address)
    newcomer = net.process("e")
    knowing = net.process("b", address=b.address)
    knowing.know(c, d)
    for process in (restarted, newcomer, knowing):
        for _ in range(2):
            answers = replay_datagrams(net, process, lambda datagram: datagram.source)
            assert answers <= 4, "hellos alone are answered, once an address"
            replay_streams(net, process)
            net.run(MINUTE)
        assert process.toy.heard == []


def test_replayed_to_another_mesh_it_is_not_even_opened() -> None:
    net, (a, *_) = busy_day()
    other = Net("another mesh").process("a", address=a.address, keyring=ring(OTHER_SECRET))
    replay_datagrams(net, other, lambda datagram: datagram.source)
    assert other.node.stats()["node.refused_unknown_key"] == len(net.datagrams)
    replay_streams(net, other)


@pytest.mark.parametrize("seed", range(4))
def test_replays_amid_the_traffic_change_nothing_of_it(seed: int) -> None:
    """Each datagram again at a random later moment, to a random process, while they talk: the same is heard as without."""

    def talk(noise: bool) -> tuple[list[list[object]], int]:
        net = Net("talk")
        processes = met(net, "a", "b", "c")
        dice, replays = Random(seed), 0
        for number in range(60):
            speaker, other = processes[number % 3], processes[(number + 1 + number % 2) % 3]
            speaker.send(other.name, Ask(number, 30 * number))
            if number % 20 == 10:
                other.forget(speaker)
                other.know(speaker)
            for _ in range(5 if noise else 0):
                recorded = dice.choice(net.datagrams)
                dice.choice(processes).feed(recorded.data, dice.choice([recorded.source, "10.66.66.66:53"]))
                replays += 1
        return [[message for message, _ in process.toy.heard] for process in processes], replays

    assert talk(True)[0] == talk(False)[0]
    assert talk(True)[1] == 300


def test_a_recorded_cookie_is_no_answer_to_a_later_greeting() -> None:
    """The one who was there has gone; its recorded answers must not make it seem to be there."""
    net = Net()
    a, b = net.process("a"), net.process("b")
    for _ in range(2):
        a.command(Greet(b.address))
        net.run(SECOND)
    cookies = [datagram for datagram in net.datagrams if datagram.data[1] == Kind.COOKIE]
    assert len(cookies) == 2
    net.crash(b.address)
    told = len(a.toy.events)
    a.command(Greet(b.address))
    for cookie in cookies:
        assert a.feed(cookie.data, b.address) == []
    assert [event for event in a.toy.events[told:] if isinstance(event, Greeted)] == []


def test_the_check_notices_a_window_that_takes_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the replay window removed, a replay is noticed: the tests above can fail."""
    net, (_, b, *_) = busy_day()
    monkeypatch.setattr("mesh.replay.ReplayWindow.take", lambda window, counter: True)
    with pytest.raises(AssertionError):
        replay_datagrams(net, b, lambda datagram: datagram.source)


def test_the_check_notices_streams_whose_salt_is_always_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net()
    a, b = net.process("a"), net.process("b")
    for process in (a, b):
        process.node._streams._entropy = lambda count: b"salt" * (count // 4)
    a.command(Dial(b.address, "x"))
    a.command(Write(ups(a)[0].channel, Note(1, b"")))
    with pytest.raises(AssertionError):
        replay_streams(net, b)


# --- no (key, nonce) pair twice ------------------------------------------------------------------------------------


def long_run(seed: int, *, clone: bool = False, random: Callable[[str], Callable[[int], bytes]] = entropy) -> Net:
    """An hour of traffic with restarts, rotation and streams; `clone` restarts from a copy of the whole process."""
    net, dice = Net(seed), Random(seed)
    names = ["a", "b", "c"]
    at = {name: net.process(name, random=random(f"{name} {seed}")) for name in names}
    for minute in range(60):
        for process in at.values():
            process.know(*[other for other in at.values() if other is not process])
        for _ in range(30):
            speaker, target = dice.sample(names, 2)
            at[speaker].send(target, Ask(minute, dice.choice([0, 50, 1_100, 3_000])))
            if dice.random() < 0.1:
                at[speaker].command(Greet(at[target].address))
            if dice.random() < 0.1:
                at[speaker].command(Dial(at[target].address, "again"))
            net.run(2 * SECOND)
        name = dice.choice(names)
        old = at[name]
        at[name] = net.process(name, random=random(f"{name} {seed} {minute}"), boot=old.boot if clone else None)
        if minute == 30:
            for process in at.values():
                process.ring.use(process.ring.add("the next secret, of at least 32 bytes"))
        elif minute > 30:
            at[name].ring.use(at[name].ring.add("the next secret, of at least 32 bytes"))
    return net


@pytest.mark.parametrize("seed", range(3))
def test_no_key_and_nonce_pair_seals_twice(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    book = NonceBook(monkeypatch)
    net = long_run(seed)
    assert book.repeated == []
    assert len(book.sealed) > 4_000 and book.keys > 400
    assert len(net.conversations) > 30


@pytest.mark.parametrize("seed", range(3))
def test_a_machine_restored_from_a_snapshot_repeats_no_pair(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Session and counter are those of the original; only what is drawn anew differs."""
    book = NonceBook(monkeypatch)
    long_run(seed, clone=True)
    assert book.repeated == []
    assert len(book.sealed) > 4_000


def test_the_book_notices_a_clone_whose_nonces_have_no_random_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted fault: the nonce is the counter alone."""
    book = NonceBook(monkeypatch)

    def without_random(name: str) -> Callable[[int], bytes]:
        draw = entropy(name)
        return lambda count: bytes(4) if count == 4 else draw(count)

    long_run(0, clone=True, random=without_random)
    assert book.repeated


def test_the_book_notices_entropy_that_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted fault: a restored machine draws what the original drew, so that even stream salts come twice."""
    book = NonceBook(monkeypatch)
    long_run(0, clone=True, random=lambda name: entropy(name.split()[0]))
    assert book.repeated
