"""W5: floods of first contacts. Bounded memory, no answer larger than its request, no third party as target."""

from __future__ import annotations

from collections import Counter

from mesh.hello import ADDRESSES, COOKIE_INTERVAL
from mesh.outputs import Transmit
from mesh.seal import Seal
from tests.mesh.node_world import SECOND, Net, Process, met
from tests.mesh.sources import entropy, ring, session
from tests.mesh.toys import Note

FLOOD = 10_000


def flood(to: Process, count: int, *, addresses: int, sealed: bool = True) -> tuple[int, Counter[str]]:
    """So many hellos, each of another session, from so many addresses (which may be anybody's); bytes in, and out by
    address."""
    seal = Seal(ring(), session("flooder"), entropy("flooder"))
    taken, given = 0, Counter[str]()
    for number in range(count):
        if number % 50 == 0:
            seal = Seal(ring(), session(f"flooder {number}"), entropy(f"flooder {number}"))
        data = seal.seal_hello(bytes(128)) if sealed else bytes(160)
        address = f"10.{number % addresses >> 16}.{number % addresses >> 8 & 255}.{number % addresses & 255}:7946"
        taken += len(data)
        for output in to.feed(data, address):
            assert isinstance(output, Transmit) and output.address == address, "nobody else is a target"
            assert len(output.data) <= len(data), "no answer is larger than its request"
            given[output.address] += len(output.data)
    return taken, given


def test_hellos_from_everywhere_leave_nothing_behind() -> None:
    net = Net()
    a, b = met(net, "a", "b")
    before = a.state()
    taken, given = flood(a, FLOOD, addresses=FLOOD)
    assert sum(given.values()) < taken
    assert a.state() == before, "no session is known, no window kept"
    assert len(a.node._introductions._greeter._sent) <= ADDRESSES
    assert not a.node._contacts._strangers
    b.send("a", Note(7, b"through"))
    assert a.toy.numbers()[-1] == 7


def test_an_address_that_is_made_a_target_gets_little() -> None:
    """A flood in the name of one third party: it is sent one cookie an interval, whatever is asked for."""
    net = Net()
    a, _ = met(net, "a", "b")
    given = Counter[str]()
    for _ in range(10):
        given += flood(a, 500, addresses=1)[1]
        net.run(COOKIE_INTERVAL)
    assert len(given) == 1
    cookies = 10 + 1
    assert sum(given.values()) <= cookies * 128
    taken = flood(a, 500, addresses=1)[0]
    assert sum(given.values()) * 50 < 10 * taken


def test_without_the_secret_a_flood_is_not_answered_at_all() -> None:
    net = Net()
    a, _ = met(net, "a", "b")
    before = a.state()
    assert not flood(a, FLOOD, addresses=FLOOD, sealed=False)[1]
    assert a.state() == before
    net.run(SECOND)
