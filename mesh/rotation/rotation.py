"""The keyring of the mesh, changed while everything runs: add a secret, wait until all have it, use it, remove the old one.

Rules:
  - **nobody is sealed to with what it cannot open.** A node seals to a member with its primary if the member has said, or
    shown, that it holds it; else with one that the member has (`Keyring.key_to`). So a member that slept is understood, and
    told, when it comes back, as long as one of its secrets is still accepted;
  - secrets travel only wrapped in one that the receiver has;
  - **nobody drops a secret before it holds the one that seals**, and not before `GRACE` has passed since it has heard of the
    removal: what was sealed before is still on its way, and who has not heard yet is still to be told;
  - `use` is refused while a member that can be reached lacks the secret, `remove` while any member does that has not left,
    the dead too: it may be asleep. Forced, such a member is cut off, and must be started with a secret of the new ring;
  - news of the ring rides in the datagrams that leave anyway, to whoever has not said that it has heard it, and is pushed to
    some of them each `PUSH` while there are any. A mesh whose ring was never changed says nothing of it at all.

(Serf's keyring has the same steps, and leaves the waiting to the operator; a member that slept through one is lost there.)"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from crdt.clock import HybridClock, Instant
from mesh.directives import Arm, Directive, Directives, Emit, Event, Message, Persist, Send, Source
from mesh.frozen import frozen
from mesh.keyring import Keyring
from mesh.membership import Identity, MemberChanged, MemberForgotten, Membership, State
from mesh.memory import Memory
from mesh.rotation.messages import MAX_KEYS, RingNews, Wrapped, WrappedKey
from mesh.rotation.ring import Ring, digest_of
from mesh.rotation.shelf import Shelf
from mesh.wire import encode

__all__ = ["GRACE", "PUSH", "KeyStanding", "RingChanged", "Rotation"]

MS = 1_000_000

PUSH = 200 * MS
"""ns between two rounds of telling those that have not heard."""
FANOUT = 4
"""Members that are told in one."""

TRIES = 64
"""Times that one ring is told to a member that does not answer: it may be of a version that knows no rings."""

GRACE = 5_000 * MS
"""ns for which a removed secret is still accepted."""


@frozen
class RingChanged(Event):
    """This node's ring is another: it has got a secret, seals with another one, or accepts one no more."""

    primary: bytes
    holds: tuple[bytes, ...]
    cut_off: bool
    """Every secret that it holds was removed: nobody understands it any more."""


class KeyStanding(NamedTuple):
    """One secret, as this node knows of it."""

    key: bytes
    primary: bool
    """This node seals with it."""
    present: bool
    """False: removed, and about to be forgotten."""
    lacking: tuple[str, ...]
    """Members, not left, that have said what they hold, and not this."""
    unknown: tuple[str, ...]
    """Members, not left, that have not said what they hold."""
    using: tuple[str, ...]
    """Members that seal with it, as far as they have said."""


@dataclass(slots=True)
class Far:
    """What is known of another process's ring, and it of this one's."""

    digest: bytes = b""
    """Of its last news."""
    holds: tuple[bytes, ...] = ()
    heard: bytes = b""
    """Of this node's news that it has heard last."""
    tries: int = 0


class Rotation:
    name = "rotation"
    messages: tuple[type[Message], ...] = (RingNews, Wrapped)
    hears = (MemberChanged, MemberForgotten)

    def __init__(
        self,
        identity: Identity,
        membership: Membership,
        keyring: Keyring,
        clock: HybridClock,
        random: Random,
        memory: Memory | None = None,
    ) -> None:
        self._identity = identity
        self._membership = membership
        self.keyring = keyring
        self._clock = clock
        self._random = random
        keyring.attentive = True
        self._shelf = Shelf(keyring)
        self.ring = Ring()
        self.outdated = False
        """The secret that this node was started with seals no more: the operator should give it the new one."""
        self._far: dict[bytes, Far] = {}
        self._leaving: dict[bytes, int] = {}
        """Removed secrets, and when they are dropped (monotonic ns)."""
        self._digest = b""
        self._pushing = False
        self._aboard = ""
        self.counts: Counter[str] = Counter()
        if memory is not None:
            self._shelf.recall(memory, self.ring)
        self._settle_ring()

    # --- commands ----------------------------------------------------------------------------------------------------

    def add(self, secret: bytes | str, now: Instant) -> tuple[bytes, Directives]:
        """Accept one more secret, everywhere; its identifier.

        Raises
        ------
        ValueError: too short or too long, or the ring is full. LookupError: the mesh has no secret, so its traffic is open.
        """
        self._protected()
        if len({*self.ring.entries, *self.keyring.identifiers()}) >= MAX_KEYS:
            raise ValueError(f"the mesh remembers {MAX_KEYS} secrets already: found it anew with one")
        key = self.keyring.add(secret)
        self._leaving.pop(key, None)
        self.ring.say(key, self._clock.tick(now), True)
        return key, self._changed(now)

    def use(self, key: bytes, now: Instant) -> Directives:
        """Seal with this secret, everywhere. Whether all have it, the caller has seen (`standing`)."""
        self._protected()
        self._held(key)
        self.ring.use = (self._clock.tick(now), key)
        return self._changed(now)

    def remove(self, key: bytes, now: Instant) -> Directives:
        """Accept this secret no more, anywhere, some seconds from now."""
        self._protected()
        self._held(key)
        if key == self.keyring.primary:
            raise ValueError(f"the secret {key.hex()} seals: use another one first")
        self.ring.say(key, self._clock.tick(now), False)
        return self._changed(now)

    def standing(self) -> tuple[KeyStanding, ...]:
        """Every secret that this node holds, the one first that it seals with."""
        holdings = self._holdings()
        rows = []
        for key in self.keyring.identifiers():
            lacking = [name for name, holds in holdings.items() if holds and key not in holds]
            unknown = [name for name, holds in holdings.items() if not holds]
            using = [name for name, holds in holdings.items() if holds and holds[0] == key]
            rows.append(
                KeyStanding(
                    key,
                    key == self.keyring.primary,
                    self.ring.present(key),
                    tuple(lacking),
                    tuple(unknown),
                    tuple(using),
                )
            )
        return tuple(sorted(rows, key=lambda row: not row.primary))

    def blocking_use(self, key: bytes) -> tuple[str, ...]:
        """Members that can be reached and are not known to hold a secret: they would be cut off from those that do not know
        so."""
        holdings = self._holdings()
        return tuple([name for name, holds in holdings.items() if key not in holds and self._membership.is_alive(name)])

    def blocking_remove(self, key: bytes) -> tuple[str, ...]:
        """Members that have not left, and are not known to hold the secret that seals once this one is gone: they would be cut
        off for good. The dead are among them, for they may be asleep."""
        primary = self.keyring.primary
        return tuple([name for name, holds in self._holdings().items() if primary not in holds or holds[0] == key])

    def inquire(self, now: Instant) -> Directives:
        """Ask every member what it holds that has not said so."""
        out: list[Directive] = []
        for member in self._membership.members():
            far = self._far.get(member.boot.session)
            if member.reachable and member.name != self._identity.name and (far is None or not far.holds):
                self._tell(member.boot.session, out, insist=True)
        return out

    def _protected(self) -> None:
        if self.keyring.public:
            raise LookupError("this mesh has no secret, so there is nothing to rotate: start it with one (`mesh keygen`)")

    def _held(self, key: bytes) -> None:
        if key not in self.keyring:
            raise ValueError(f"no secret {key.hex()} in the ring: add it first")

    def _holdings(self) -> dict[str, tuple[bytes, ...]]:
        """Of every member that has not left what it has said to hold; nothing of who has said nothing."""
        found: dict[str, tuple[bytes, ...]] = {}
        for member in self._membership.members():
            if member.state is not State.LEFT and member.name != self._identity.name:
                far = self._far.get(member.boot.session)
                found[member.name] = far.holds if far is not None else ()
        return found

    # --- part --------------------------------------------------------------------------------------------------------

    def start(self, now: Instant) -> Directives:
        return self._changed(now) if self.ring.entries else ()

    def on_message(self, message: Message, source: Source, now: Instant) -> Directives:
        if self.keyring.public:
            self.counts["refused"] += 1
            return ()
        match message:
            case RingNews():
                return self._on_news(message, source, now)
            case Wrapped(keys):
                return self._on_wrapped(keys, now)
        return ()

    def on_timer(self, timer: Hashable, now: Instant) -> Directives:
        match timer:
            case ("push",):
                self._pushing = False
                return self._push(now)
            case ("drop",):
                return self._drop(now)
        return ()

    def on_event(self, event: Event, now: Instant) -> Directives:
        if isinstance(event, MemberForgotten):
            self._forget(event.member.boot.session)
        elif isinstance(event, MemberChanged):
            member, previous = event.member, event.previous
            if previous is not None and previous.boot.session != member.boot.session:
                self._forget(previous.boot.session)
            far = self._far.get(member.boot.session)
            if far is not None and member.reachable:
                far.tries = 0
            if not self._silent():
                return self._push(now)
        return ()

    def _forget(self, session: bytes) -> None:
        self._far.pop(session, None)
        self.keyring.forget(session)

    def stats(self) -> dict[str, int]:
        return {
            "keys": len(self.keyring.identifiers()),
            "outdated": int(self.outdated),
            "cut_off": int(self._cut_off()),
            **dict(sorted(self.counts.items())),
        }

    # --- telling -----------------------------------------------------------------------------------------------------

    def _silent(self) -> bool:
        """Whether there is nothing to tell: the ring is the one secret that the node was started with."""
        return self.keyring.public or (not self.ring.entries and not self.ring.use[0] and not self._far)

    def _unsure(self, session: bytes) -> bool:
        """Whether that process may not know this node's ring."""
        far = self._far.get(session)
        return far is None or (far.heard != self._digest and far.tries < TRIES)

    def eager(self, to: str) -> bool:
        self._aboard = ""
        if (not self._far and not self.ring.entries and not self.ring.use[0]) or self.keyring.public:  # as in `_silent`
            return False
        boot = self._membership.boot(to)
        if boot is None:
            return False
        return self._unsure(boot.session)

    def piggyback(self, to: str, budget: int) -> Sequence[bytes]:
        boot = self._membership.boot(to)
        if self._aboard == to or boot is None or not self.eager(to):
            return ()
        encoded = encode(self._news(boot.session))
        if len(encoded) > budget:
            return ()
        self._aboard = to
        self._told(boot.session)
        return (encoded,)

    def _news(self, session: bytes) -> RingNews:
        far = self._far.get(session)
        primary = self.keyring.primary
        holds = (primary, *sorted(key for key in self.keyring.identifiers() if key != primary))
        return self.ring.news(holds, b"" if far is None else far.digest, self._unsure(session))

    def _told(self, session: bytes) -> None:
        far = self._far.get(session)
        if far is None:
            far = self._far[session] = Far()
        far.tries += 1

    def _tell(self, session: bytes, out: list[Directive], *, insist: bool = False) -> None:
        news = self._news(session)
        if insist:
            news = RingNews(news.entries, news.use_stamp, news.use, news.holds, news.heard, True)
        out.append(Send(session, news))
        self._told(session)

    def _push(self, now: Instant) -> Directives:
        """Tell some that have not heard, and come back while there are any."""
        out: list[Directive] = []
        if self._pushing:
            return out
        sessions = [member.boot.session for member in self._membership.members() if member.reachable]
        own = self._identity.boot.session
        unsure = [session for session in sessions if session != own and self._unsure(session)]
        if unsure:
            for session in self._random.sample(unsure, min(FANOUT, len(unsure))):
                self._tell(session, out)
            self._pushing = True
            out.append(Arm(("push",), now.mono + PUSH))
        return out

    # --- hearing -----------------------------------------------------------------------------------------------------

    def _on_news(self, news: RingNews, source: Source, now: Instant) -> Directives:
        out: list[Directive] = []
        if source.name is None:
            self.counts["strangers"] += 1
            return out
        if not all(self._plausible(stamp, now) for stamp in (news.use_stamp, *(entry.stamp for entry in news.entries))):
            self.counts["of_the_future"] += 1
            return out
        far = self._far.get(source.session)
        if far is None:
            far = self._far[source.session] = Far()
        far.digest, far.holds, far.heard, far.tries = digest_of(news), news.holds, news.heard, 0
        self.keyring.told(source.session, news.holds)
        if self.ring.join(news.entries, (news.use_stamp, news.use)):
            out += self._changed(now)
        lacking = [key for key in self.keyring.identifiers() if key not in news.holds and self._wanted_by_others(key)]
        shared = [key for key in news.holds if key in self.keyring]
        if lacking and shared:
            wrapping = self.keyring.derive(shared[0], b"wrap", b"")
            wrapped = [WrappedKey(key, shared[0], self.keyring.wrap(key, wrapping)) for key in lacking]
            self.counts["given"] += len(wrapped)
            out.append(Send(source.session, Wrapped(tuple(wrapped))))
        if news.want:
            self._tell(source.session, out)
        return out

    def _wanted_by_others(self, key: bytes) -> bool:
        """Whether it was added for all, and is not removed."""
        return key in self.ring.entries and self.ring.present(key)

    def _plausible(self, stamp: int, now: Instant) -> bool:
        return self._clock.merge(stamp, now)

    def _on_wrapped(self, keys: Sequence[WrappedKey], now: Instant) -> Directives:
        got = False
        for wrapped in keys:
            if wrapped.key in self.keyring or wrapped.under not in self.keyring or not self._wanted_by_others(wrapped.key):
                continue
            wrapping = self.keyring.derive(wrapped.under, b"wrap", b"")
            got |= self.keyring.unwrap(wrapped.key, wrapping, wrapped.sealed)
        if not got:
            return ()
        self.counts["received"] += 1
        return self._changed(now)

    # --- the own ring ------------------------------------------------------------------------------------------------

    def _changed(self, now: Instant) -> Directives:
        """What follows from another ring: what it says is done, remembered, told."""
        before = (self.keyring.primary, self.keyring.identifiers())
        self._settle_ring()
        out: list[Directive] = []
        for key in self.keyring.identifiers():
            if self.ring.present(key):
                self._leaving.pop(key, None)
            elif key not in self._leaving:
                self._leaving[key] = now.mono + GRACE
                out.append(Arm(("drop",), now.mono + GRACE))
        records = self._shelf.records(self.ring)
        if records:
            out.append(Persist(tuple(records)))
        digest = digest_of(self._news(b""))
        if digest != self._digest:
            self._digest = digest
            for far in self._far.values():
                far.tries = 0
        if before != (self.keyring.primary, self.keyring.identifiers()) or self._cut_off():
            out.append(self._event())
        out += self._push(now)
        return out

    def _settle_ring(self) -> None:
        primary = self.ring.chosen((self.keyring.primary, *self.keyring.identifiers()))
        self.keyring.use(primary)
        self.outdated = primary not in self._shelf.given
        self._digest = self._digest or digest_of(self._news(b""))

    def _drop(self, now: Instant) -> Directives:
        out: list[Directive] = []
        for key, at in list(self._leaving.items()):
            if at > now.mono:
                out.append(Arm(("drop",), at))
            elif key == self.keyring.primary or self._lacks_the_one_in_use():
                # Its last way to be told of another: it is kept until there is one.
                self._leaving[key] = now.mono + GRACE
                out.append(Arm(("drop",), now.mono + GRACE))
            else:
                del self._leaving[key]
                self.keyring.remove(key)
                self.counts["dropped"] += 1
        return [*out, *self._after_drop(now)]

    def _after_drop(self, now: Instant) -> Directives:
        digest = digest_of(self._news(b""))
        return self._changed(now) if digest != self._digest else ()

    def _lacks_the_one_in_use(self) -> bool:
        stamp, use = self.ring.use
        return bool(stamp) and self.ring.present(use) and use not in self.keyring

    def _cut_off(self) -> bool:
        return not any(self.ring.present(key) for key in self.keyring.identifiers())

    def _event(self) -> Emit:
        return Emit(RingChanged(self.keyring.primary, self.keyring.identifiers(), self._cut_off()))
