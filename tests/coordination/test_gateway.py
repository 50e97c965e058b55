"""The gateway and the line, on virtual time: what is answered, relayed, remembered and refused."""

from __future__ import annotations

import cbor2
import pytest

import coordination.sponsor.gateway
from coordination.agreed.vocabulary.events import Busy, Ended, Released
from coordination.agreed.vocabulary.messages import Acquire, CancelDone, Mend, Prepare, Release
from coordination.sponsor.messages import ASK_BYTES, OUTSTANDING, Ask, ClientHello, Forward, Voters
from coordination.sponsor.operations import PAGE_ENTRIES
from coordination.thin.line import Parted, Welcomed
from mesh.directives import Boot, Message, Send, Source, Write
from mesh.membership import MemberChanged
from mesh.relay import Relayed
from mesh.values import decode_value, encode_value
from mesh.wire import encode
from tests.coordination.thin_pair import MS, SECOND, Pair


def gateway(pair: Pair) -> dict[str, int]:
    return pair.sponsor.gateway.stats()


def test_a_client_is_welcomed_under_its_sponsor() -> None:
    pair = Pair()
    guest = pair.welcomed()
    identity = guest.line.identity
    assert identity.name == f"{identity.boot.session[:8].hex()}@n0"
    assert identity.boot.stamp > pair.sponsor.identity.boot.stamp
    assert guest.line.mesh.roster == pair.sponsor.agreed.birth.roster is not None
    assert guest.of(Welcomed)[0].sponsor == "n0"
    assert gateway(pair)["clients"] == 1


def test_keys_are_written_and_read() -> None:
    pair = Pair()
    guest = pair.welcomed()
    stamp = guest.do("put", "k", encode_value({"a": [1]}), 5.0, None)
    assert decode_value(guest.do("get", "k")) == {"a": [1]}
    body, written, remaining, lease, writer, fence = guest.do("entry", "k")
    assert (decode_value(body), written, lease, writer, fence) == ({"a": [1]}, stamp, None, "n0", 0)
    assert 4.9 < remaining <= 5.0
    assert guest.do("touch", "k", 50) is True
    assert guest.do("entry", "k")[2] > 49
    assert guest.do("delete", "k") is True
    assert guest.do("delete", "k") is False
    assert guest.do("get", "k") is None and guest.do("entry", "k") is None
    assert guest.do("touch", "k", 50) is False


def test_a_key_with_a_ttl_expires_on_the_sponsor() -> None:
    pair = Pair()
    guest = pair.welcomed()
    guest.do("put", "k", encode_value(1), 1, None)
    pair.advance(SECOND + 10 * MS)
    assert guest.do("get", "k") is None


def test_a_scan_comes_in_pages() -> None:
    pair = Pair()
    guest = pair.welcomed()
    count = 2 * PAGE_ENTRIES + 7
    guest.do("put_many", [(f"p/{number:05}", encode_value(number)) for number in range(count)], None)
    guest.do("put", "q", encode_value("outside"), None, None)
    found: list[tuple[str, bytes]] = []
    pages = 0
    more = True
    while more:
        page, more = guest.do("scan", "p/", found[-1][0] if found else None)
        assert len(page) <= PAGE_ENTRIES
        found += page
        pages += 1
    assert [(key, decode_value(body)) for key, body in found] == [(f"p/{number:05}", number) for number in range(count)]
    assert pages == 3


def test_a_page_of_large_values_ends_early() -> None:
    pair = Pair()
    guest = pair.welcomed()
    for number in range(4):
        guest.do("put", f"k{number}", encode_value(bytes(200_000)), None, None)
    page, more = guest.do("scan", "", None)
    assert len(page) == 2 and more


def test_counters_members_and_stats() -> None:
    pair = Pair()
    guest = pair.welcomed()
    guest.do("add", "c", 5)
    guest.do("add", "c", -7)
    assert guest.do("value", "c") == -2
    guest.do("add", "c", 1 << 100)
    assert guest.do("value", "c") == (1 << 100) - 2
    ((name, _, _, state, _, _),), more = guest.do("members", None)
    assert (name, state, more) == ("n0", "alive", False)
    assert guest.do("members", "n0") == ((), False)
    assert guest.do("stats")["gateway.clients"] == 1


def test_what_is_wrong_is_told_by_class_and_sentence() -> None:
    pair = Pair()
    guest = pair.welcomed()
    assert guest.fails("put", "", encode_value(1), None, None)[0] == "BadKey"
    assert guest.fails("put", "k", encode_value(1), 0.5, None)[0] == "BadTTL"
    assert guest.fails("put", "k", encode_value(1), 5, "1.1.1.00.x#lock/l")[0] == "BadTTL"
    assert guest.fails("put", "k", encode_value(1), None, "no lease")[0] == "BadConfig"
    assert guest.fails("put", "k", b"\xd8\x23", None, None)[0] == "BadValue"
    assert guest.fails("put_many", [("a", encode_value(1)), ("b", b"\xff")], None)[0] == "BadValue"
    assert guest.fails("put_many", ["a"], None)[0] == "BadConfig"
    assert guest.fails("add", "c", 1 << 5000)[0] == "TooLarge"
    assert guest.fails("get", 1)[0] == "BadConfig"
    assert guest.fails("get")[0] == "BadConfig"
    assert guest.fails("add", "c", True)[0] == "BadConfig"
    error, sentence = guest.fails("frobnicate")
    assert error == "BadConfig" and "older than this client" in sentence
    assert guest.do("scan", "", None) == ((), False), "of a put_many, all are checked before any is written"
    assert guest.do("value", "c") == 0


@pytest.mark.parametrize("arguments", [b"", b"\xff", cbor2.dumps("text"), cbor2.dumps({}), bytes(ASK_BYTES + 1)])
def test_arguments_that_are_none_are_answered(arguments: bytes) -> None:
    pair = Pair()
    guest = pair.welcomed()
    seen = len(guest.events)
    guest.say(Ask(9, "get", arguments))
    (heard,) = guest.events[seen:]
    assert heard.message.error == "BadConfig"  # type: ignore[attr-defined]
    assert guest.do("get", "k") is None


def test_a_fence_and_a_bad_clock_refuse_writes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair()
    guest = pair.welcomed()
    pair.sponsor.replication.put("k", encode_value(1), pair.now, fence=7)
    assert guest.fails("put", "k", encode_value(2), None, None)[0] == "Fenced"
    monkeypatch.setattr(type(pair.sponsor.clock), "check", lambda self: 400.0)
    assert guest.fails("put", "l", encode_value(2), None, None)[0] == "ClockDrift"
    assert decode_value(guest.do("get", "k")) == 1


def test_a_store_that_is_full_refuses_what_fades_alone_and_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesh.replication.burden.PAUSE", 0)
    pair = Pair(max_fading=10)
    guest = pair.welcomed()
    pair.advance(5 * SECOND)
    guest.do("put_many", [(f"k{number}", encode_value(number)) for number in range(20)], None)
    for number in range(5):
        guest.do("delete", f"k{number}")
    pair.advance(2 * SECOND)  # the alarm
    error, sentence = guest.fails("clear", "k", None, 0, 0, "")
    assert error == "StoreFull"
    assert sentence.startswith(
        "5 deleted or expired keys wait to be forgotten, of 10 that may (max_fading), and no cut has been "
    )
    assert guest.fails("put_many", [(f"t{number}", encode_value(0)) for number in range(6)], 5.0)[0] == "StoreFull"
    wishes = [(f"k{number}", None, None, None) for number in range(5, 11)]
    assert guest.fails("batch", wishes, 0, "")[0] == "StoreFull"
    assert len(guest.do("scan", "", None)[0]) == 15, "none of them, not the first five"
    guest.do("batch", wishes[:5], 0, "")
    assert guest.fails("delete", "k10")[0] == guest.fails("put", "t", encode_value(1), 5.0, None)[0] == "StoreFull"
    guest.do("put", "k10", encode_value(2), None, None)
    assert guest.do("stats")["replication.writes_refused_full"] == 5
    pair.advance(130 * SECOND)  # cuts
    assert guest.do("delete", "k10") is True and guest.do("stats")["replication.fading_keys"] == 1


# --- once ---------------------------------------------------------------------------------------------------------------


def test_a_write_that_is_asked_for_twice_is_done_once() -> None:
    pair = Pair()
    guest = pair.welcomed()
    first = guest.ask("add", "c", 3, sequence=1)
    assert first == guest.ask("add", "c", 3, sequence=1)
    assert guest.do("value", "c") == 3
    put = guest.ask("put", "k", encode_value(1), None, None, sequence=5)
    other = pair.welcomed()
    other.do("put", "k", encode_value(2), None, None)
    assert guest.ask("put", "k", encode_value(1), None, None, sequence=5) == put
    assert decode_value(guest.do("get", "k")) == 2
    assert gateway(pair)["repeated_writes"] == 2
    assert other.ask("add", "c", 3, sequence=5) is not None
    assert guest.do("value", "c") == 6, "sequences of two clients are two"


def test_a_write_too_old_to_be_remembered_is_not_done_again() -> None:
    pair = Pair()
    guest = pair.welcomed()
    for sequence in range(1, OUTSTANDING + 3):
        guest.ask("add", "c", 1, sequence=sequence)
    for sequence in (1, 2):
        answer = guest.ask("add", "c", 1, sequence=sequence)
        assert answer is not None and answer.error == "OutcomeUnknown"
    assert guest.ask("add", "c", 1, sequence=3) is not None
    assert pair.sponsor.store.counter("c") == OUTSTANDING + 2
    assert guest.ask("value", "c", sequence=1) is not None, "a read may be asked for at any time"


# --- holders ------------------------------------------------------------------------------------------------------------


def test_a_lock_by_the_clients_own_holder() -> None:
    pair = Pair()
    one, other = pair.welcomed(), pair.welcomed()
    request = one.acquire("lock/l")
    assert one.granted(request)
    assert one.line.holder.valid(request, pair.now)
    refused = other.acquire("lock/l", wait=False)
    assert other.of(Busy)[0].request == refused
    waiting = other.acquire("lock/l")
    pair.advance(300 * MS)
    assert not other.granted(waiting)
    one.command(one.line.outward(one.line.holder.release(request, pair.now)))
    assert one.of(Released)
    pair.advance(600 * MS)
    assert other.granted(waiting)
    lease = other.line.holder.lease(waiting)
    assert lease is not None and lease.token > 0


def test_the_belief_counts_from_before_it_was_sent() -> None:
    """The holder's clock is the client's: what the sponsor takes to relay shortens the belief, never the other way."""
    pair = Pair()
    guest = pair.welcomed()
    holder = guest.line.holder
    sent = pair.now
    request = holder.next_request()
    asked = holder.acquire(request, "lock/l", kind="lock", ttl=2 * SECOND, wait=True, renew=False, now=sent)
    pair.mono += 200 * MS
    guest.command(guest.line.outward(asked))
    assert guest.granted(request)
    deadline = holder.deadline(request)
    assert deadline is not None and deadline < sent.boot + 2 * SECOND


def test_the_end_of_the_stream_frees_nothing() -> None:
    pair = Pair()
    one, other = pair.welcomed(), pair.welcomed()
    assert one.granted(one.acquire("lock/l", renew=True))
    began = pair.mono
    pair.cut(one)
    assert gateway(pair)["clients"] == 1
    waiting = other.acquire("lock/l")
    while not other.granted(waiting):
        pair.advance(10 * MS)
        assert pair.mono < began + 3 * SECOND
    assert began + 2 * SECOND <= pair.mono <= began + 2 * SECOND + 300 * MS
    pair.advance(SECOND)
    assert one.of(Ended), "by its own clock it has lost it, before another could have it"


def test_a_holder_speaks_in_its_own_name_and_to_voters() -> None:
    pair = Pair()
    one, other = pair.welcomed(), pair.welcomed()
    request = one.acquire("lock/l", ttl=5 * SECOND)
    (holding,) = pair.sponsor.agreed.acceptor.register("lock/l").value.holdings  # type: ignore[union-attr]
    name, boot = one.line.identity.name, one.line.identity.boot
    forged = [
        Forward("n0", encode(Release("lock/l", holding.lease, False))),
        Forward("n0", encode(Acquire("lock/m", name, boot, 1, 1, True, False, SECOND, 0, ()))),
        Forward("n0", encode(Acquire("lock/m", other.line.identity.name, boot, 1, 1, True, False, SECOND, 0, ()))),
        Forward("n0", encode(Prepare("lock/l", pair.sponsor.agreed.acceptor.register("lock/l").promised, ()))),  # type: ignore[union-attr]
        Forward("n0", encode(ClientHello())),
        Forward("n0", b"nonsense"),
        Forward("n9", encode(Mend("lock/l"))),
        Forward(name, encode(Mend("lock/l"))),
    ]
    for message in forged:
        other.say(message)
    assert gateway(pair)["refused_forwards"] == len(forged)
    pair.advance(100 * MS)
    assert one.line.holder.valid(request, pair.now)
    assert not pair.sponsor.agreed.acceptor.register("lock/m")
    other.say(Forward("n0", encode(Mend("lock/l"))))
    assert gateway(pair)["refused_forwards"] == len(forged)


def test_what_a_part_of_the_sponsor_sends_to_a_client_reaches_its_holder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only what comes from other members: the owner may be on the sponsor itself."""
    pair = Pair()
    guest = pair.welcomed()
    name, boot = guest.line.identity.name, guest.line.identity.boot
    done = CancelDone("lock/l", name, boot, 1, "n0")
    heard: list[Message] = []

    def hear(message: Message, *_: object) -> tuple[()]:
        heard.append(message)
        return ()

    monkeypatch.setattr(guest.line.holder, "on_message", hear)
    pair.sponsor.node.command(pair.sponsor.agreed.owner, (Send(name, done), Send(name, Mend("lock/l"))), pair.now)
    pair.pump()
    assert heard == [done]
    assert guest.line.stats()["unknown_relayed"] == 1, "a holder is told what is for holders alone"


def test_relayed_for_nobody_and_by_strangers_is_dropped() -> None:
    pair = Pair()
    guest = pair.welcomed()
    part, node = pair.sponsor.gateway, pair.sponsor.node
    own = Source(b"s" * 16, "127.0.0.1:2", "n1", Boot(1, b"s" * 16), None)
    identifier = guest.line.identity.name.partition("@")[0]
    payload = encode(Mend("k"))
    assert part.on_message(Relayed("0" * 16, payload), own, pair.now) == []
    assert part.on_message(Relayed(identifier, payload), own._replace(name=None), pair.now) == []
    assert len(part.on_message(Relayed(identifier, payload), own, pair.now)) == 1
    assert part.stats()["unknown_clients"] == 2
    assert node.stats()["gateway.unknown_clients"] == 2


# --- bounds and ends ------------------------------------------------------------------------------------------------------


def test_too_many_clients_are_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coordination.sponsor.gateway, "MAX_CLIENTS", 2)
    pair = Pair()
    one, _ = pair.welcomed(), pair.welcomed()
    refused = pair.guest()
    assert not refused.of(Welcomed)
    assert "2 clients" in refused.of(Parted)[0].reason
    pair.cut(one)
    assert pair.guest().of(Welcomed)


def test_a_client_that_dials_anew_takes_its_place_over() -> None:
    pair = Pair()
    one = pair.welcomed()
    again = pair.guest(one.line.identity.boot.session)
    assert again.of(Welcomed) and one.of(Parted)
    assert gateway(pair)["clients"] == 1
    assert again.do("get", "k") is None


def test_a_stream_that_comes_up_after_it_was_given_up_is_closed() -> None:
    pair = Pair()
    guest = pair.welcomed()
    first, dialled = guest.line.dial("127.0.0.1:1")
    second, again = guest.line.dial("127.0.0.1:1")
    guest.command([*dialled, *again])
    assert [event.attempt for event in guest.of(Welcomed)] == [1, second] and first not in (1, second)
    assert gateway(pair)["clients"] == 1
    assert pair.sponsor.node.stats()["node.streams"] == 1


def test_clients_are_told_of_the_voters_when_that_changes_and_only_then(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair()
    guest = pair.welcomed()
    part, (member,) = pair.sponsor.gateway, pair.sponsor.membership.members()
    assert part.on_event(MemberChanged(member, member), pair.now) == []
    monkeypatch.setattr(type(pair.sponsor.membership), "is_alive", lambda self, name: False)
    (write,) = part.on_event(MemberChanged(member, member), pair.now)
    assert isinstance(write, Write) and isinstance(write.message, Voters) and write.message.silent == ("n0",)
    assert guest.line.mesh.is_alive("n0")
    pair.sponsor.node.command(part, (write,), pair.now)
    pair.pump()
    assert not guest.line.mesh.is_alive("n0")


def test_operations_before_the_hello_are_not_for_strangers() -> None:
    pair = Pair()
    stranger = pair.guest()
    before = gateway(pair).get("strangers", 0)
    pair.sponsor.gateway._guests.clear()
    assert stranger.ask("get", "k") is None
    assert gateway(pair)["strangers"] == before + 1


def test_questions_wait_for_their_answer_and_are_forgotten_with_the_client() -> None:
    pair = Pair()
    guest = pair.welcomed()
    assert guest.do("explain", "l")[:2] == ("lock/l", ("n0",))
    assert guest.do("synced") is None
    pair.sponsor.gateway._joined = False
    for _ in range(OUTSTANDING):
        assert guest.ask("synced") is None
    error, sentence = guest.fails("synced")
    assert error == "BadConfig" and str(OUTSTANDING) in sentence
    pair.cut(guest)
    assert gateway(pair)["queries"] == 0 and gateway(pair)["clients"] == 0
