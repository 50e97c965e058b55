"""What the model of cuts is made of: members with real stores, frames, and the rules that planted faults replace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from crdt.clock import COUNTER_BITS, HybridClock, Stamp
from crdt.cuts import NO_CUT, Brought, Cut, End, Opening, Report, make_cut, may_go_on
from crdt.forgetting import apply_cut
from crdt.returning import bring_back, put_again
from crdt.store import Store
from crdt.transfer import Transfer

KEYS = tuple(f"k{n}" for n in range(5))
FENCED = "k4"
LEASES = ("l0", "l1")
COUNTERS = ("c0", "c1")
EVERYTHING = 1 << 30
SLACK = 1_000 << COUNTER_BITS
FORGET_AFTER = 10**9 << COUNTER_BITS
NS_PER_MS = 1_000_000

Dot = tuple[bytes, int]


@dataclass(slots=True)
class Held:
    """An old store, kept aside."""

    store: Store
    since: int


@dataclass(slots=True)
class Frame:
    to: str
    sender: str
    actor: bytes
    cut: Cut
    """What the sender had applied; only its number travels, the record is fetched."""
    kind: str
    content: Any


@dataclass(slots=True)
class Pull:
    number: int
    transfer: Transfer
    sender: str
    everything: bool
    cut: int = 0


class Member:
    def __init__(self, name: str, skew_ms: int) -> None:
        self.name = name
        self.skew_ms = skew_ms
        self.up = False
        self.boot = 0
        self.life = 0
        self.disk: Any = None
        self.clock = HybridClock()
        self.pulls = 0
        self.begin([])

    def begin(self, held: list[Held]) -> None:
        """A new actor, with an empty store."""
        self.life += 1
        actor = f"{self.name}.{self.boot}.{self.life}".encode().ljust(16, b"_")
        self.store = Store(actor)
        self.held = held
        self.owned: list[bytes] = [*getattr(self, "owned", []), actor] if held else [actor]
        self.cut: Cut = NO_CUT
        self.ends: dict[bytes, End] = {}
        self.state = "waiting"
        self.first = 1
        self.sponsor = b""
        self.reported = (0, 0)
        self.joiners: dict[bytes, None] = {}
        self.pull: Pull | None = None
        self.brought: list[Brought] = []
        self.led: Held | None = None
        """While a joiner: the store of the life before, in which it had joined; it is held aside as well."""

    @property
    def actor(self) -> bytes:
        return self.store.actor


class Rules:
    """What members do, rule by rule: each is replaced by a planted fault."""

    carries_numbers = True
    joiners_are_reported = True
    flushes_before_snapshots = True
    joiners_merge_nothing = True
    refuses_the_ended = True
    purges_late = True
    strangers_are_named = True
    tells_what_it_brings = True
    takes_over = True
    steps = 400
    """After which a run with this fault is judged."""
    tells_for_others = True

    def may_go_on(self, member: Member, cut: Cut) -> bool:
        return may_go_on(cut, member.actor, member.first, member.sponsor)

    def make_cut(self, previous: Cut, opening: Opening, reports: dict[bytes, Report]) -> Cut | None:
        return make_cut(previous, opening, reports, forget_after=FORGET_AFTER)

    def put_again(self, store: Store, cut: Cut, stamp: Stamp) -> list[Brought]:
        return put_again(store, cut, stamp)

    def apply_cut(self, store: Store, cut: Cut, stamp: Stamp) -> None:
        apply_cut(store, cut, stamp, SLACK)

    def finish(self, member: Member, pull: Pull) -> bool:
        return pull.transfer.finish(member.store)

    def bring_back(self, member: Member, held: Held, stamp: Stamp) -> list[Brought] | None:
        return bring_back(member.store, held.store, member.cut, held.since, stamp)


@dataclass(slots=True)
class Register:
    """The atomic register of the rounds."""

    cut: Cut = NO_CUT
    opening: Opening | None = None
