"""Asking a process itself whether it lives, before news that would harm it counts.

Two questions are asked this way: does the other holder of a name still answer (before a newcomer is given it), and is a
process that a third party's rumour gives an absurd boot or incarnation really there (then it says itself what is true).

The address is dialled, for the handshake proves which process lives there; a process that datagrams can reach is
pinged as well, several times. One answer means yes. A refused stream, or another process at that address, means no; so
does silence."""

from __future__ import annotations

from dataclasses import dataclass

from mesh.directives import Address, ChannelUp, Close, Dial, Source, Write
from mesh.membership.actions import Actions
from mesh.membership.member import Member
from mesh.membership.messages import Ack, Entry, Ping
from mesh.membership.probe import DIAL
from mesh.membership.profile import Profile

__all__ = ["ATTEMPTS", "MAX_CHECKS", "Check", "Checks", "Newcomer", "Rumoured"]

MAX_CHECKS = 64
"""At once; more rumours are dropped, more newcomers are told to come again."""

ATTEMPTS = 3
"""Pings, each followed by one probe timeout."""


@dataclass(frozen=True, slots=True)
class Newcomer:
    """A name is asked for that this process holds."""

    channel: int
    session: bytes
    subject: Entry


@dataclass(frozen=True, slots=True)
class Rumoured:
    """A third party said what is out of range."""

    member: Member


@dataclass(slots=True)
class Check:
    number: int
    session: bytes
    address: Address
    reason: Newcomer | Rumoured
    reachable: bool
    """By datagrams: the process is a member."""
    sent: int = 0
    channel: int | None = None
    """The stream on which a rumoured process is asked."""


class Checks:
    __slots__ = ("_actions", "_checks", "_profile")

    def __init__(self, profile: Profile, actions: Actions) -> None:
        self._profile = profile
        self._actions = actions
        self._checks: dict[int, Check] = {}

    def begin(
        self, number: int, session: bytes, address: Address, reason: Newcomer | Rumoured, reachable: bool, now: int
    ) -> bool:
        """False if too many are under way, or this very rumour is being checked. `number` is a fresh ping sequence."""
        if len(self._checks) >= MAX_CHECKS:
            self._actions.count("checks_dropped")
            return False
        if isinstance(reason, Rumoured) and any(
            check.session == session and isinstance(check.reason, Rumoured) for check in self._checks.values()
        ):
            return False
        check = self._checks[number] = Check(number, session, address, reason, reachable)
        self._actions.add(Dial(address, (DIAL, "check", number)))
        self._ask(check, now)
        return True

    def _ask(self, check: Check, now: int) -> None:
        check.sent += 1
        if check.reachable:
            self._actions.send(check.session, Ping(check.number, check.session))
        self._actions.arm(("check", check.number), now + self._profile.probe_timeout)

    def on_timer(self, number: int, now: int) -> Check | None:
        """The check, if it ends in silence."""
        check = self._checks[number]
        if check.sent < ATTEMPTS:
            self._ask(check, now)
            return None
        return self._end(number)

    def on_ack(self, ack: Ack, source: Source) -> Check | None:
        """The check that this ack answers with yes."""
        check = self._checks.get(ack.sequence)
        if check is None or check.session != source.session:
            return None
        return self._end(check.number)

    def on_up(self, number: int, up: ChannelUp) -> tuple[Check, bool] | None:
        """The check that the handshake decides, and how. A rumoured process is asked for its own word on the stream."""
        check = self._checks.get(number)
        if check is None:
            self._actions.add(Close(up.channel))
            return None
        lives = up.session == check.session
        if lives and isinstance(check.reason, Rumoured):
            check.channel = up.channel
            self._actions.add(Write(up.channel, Ping(number, up.session)))
            return None
        self._actions.add(Close(up.channel))
        self._end(number)
        return check, lives

    def on_down(self, number: int, reason: str) -> Check | None:
        """The check that ends with no: nothing listens there."""
        return self._end(number) if reason == "refused" and number in self._checks else None

    def on_gone(self, channel: int) -> None:
        """The newcomer has hung up: nobody waits for the answer."""
        for number, check in list(self._checks.items()):
            if isinstance(check.reason, Newcomer) and check.reason.channel == channel:
                self._end(number)

    def __len__(self) -> int:
        return len(self._checks)

    def _end(self, number: int) -> Check:
        self._actions.disarm(("check", number))
        check = self._checks.pop(number)
        if check.channel is not None:
            self._actions.add(Close(check.channel))
        return check
