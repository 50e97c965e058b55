"""Messages between services: to one member, to all, and questions with answers.

    async with peer.subscribe("jobs") as messages:
        async for message in messages: …

Nothing here is stored: a message reaches who subscribes when it comes, and nobody else. What must outlast a process belongs
under a key. A message is taken at most once; its sender is told what came of it. A subscriber that does not read holds up
nobody: what it has no room for is not taken, its senders are told, and `missed` of the next message says how many those
were."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import trio

from coordination.arguments.checks import encode_checked
from coordination.arguments.posting import check_broadcast, check_recipient, check_topic, undelivered
from coordination.arguments.tags import TagFilter, check_filter, matches
from coordination.core import Core
from coordination.errors import BadConfig, MeshError, NotDelivered, TooLarge
from mesh.directives import NANOSECONDS, Directives
from mesh.messaging import (
    MAX_ASKED,
    WHY_CHARACTERS,
    Arrived,
    Fate,
    Incoming,
    Posted,
    Progress,
    Subscription,
)
from mesh.values import decode_value
from mesh.wire import WireError

__all__ = ["Answer", "Answers", "Messages", "Messenger", "Received"]

MAX_LIMIT = 100_000
MAX_TIMEOUT = 86_400.0


def check_timeout(timeout: float) -> int:
    """How long answers are waited for, in ns. Raises `BadConfig`."""
    if not isinstance(timeout, int | float) or isinstance(timeout, bool) or not 0 < timeout <= MAX_TIMEOUT:
        raise BadConfig(f"the timeout {timeout!r} is out of range: seconds above 0, at most a day")
    return round(timeout * NANOSECONDS)


class Messenger:
    """What one peer sends and who reads here: between the messaging core and the tasks that wait."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.core = core.assembly.messaging
        self._letters: dict[int, Letter] = {}
        self.readers: dict[int, trio.Event] = {}
        """Whoever waits for a subscription to have something."""
        self.askers: dict[int, trio.Event] = {}
        core.dispatch.handle(Posted, self._on_posted)
        core.dispatch.handle(Arrived, self._on_arrived)
        core.dispatch.handle(Progress, self._on_progress)
        self.ended = False
        core.endings.append(self._end)

    def _end(self) -> None:
        """Nothing comes any more."""
        self.ended = True
        for waiting in (*self.readers.values(), *self.askers.values(), *[letter.told for letter in self._letters.values()]):
            waiting.set()

    def _on_posted(self, event: Posted) -> None:
        letter = self._letters.get(event.ref)
        if letter is not None:
            letter.fate = event.fate
            letter.told.set()

    def _on_arrived(self, event: Arrived) -> None:
        for number in event.subscriptions:
            waiting = self.readers.get(number)
            if waiting is not None:
                waiting.set()

    def _on_progress(self, event: Progress) -> None:
        waiting = self.askers.get(event.ref)
        if waiting is not None:
            waiting.set()

    def command(self, directives: Directives) -> None:
        self._core.driver.command(self.core, directives)

    def check(self) -> None:
        self._core.driver.check()

    async def turn(self) -> None:
        await self._core.turn()

    def named(self, to: str | TagFilter) -> tuple[str, ...]:
        """Whom a question goes to."""
        if isinstance(to, str):
            return (to,)
        wanted = check_filter(to)
        members = self._core.assembly.membership.members()
        names = tuple([member.name for member in members if member.reachable and matches(member, wanted)])
        if len(names) > MAX_ASKED:
            raise TooLarge(f"{len(names)} members have these tags, above the {MAX_ASKED} of one question: ask for fewer")
        return names

    async def post(self, give: Callable[[int], Directives]) -> Fate:
        """Give a letter away, and wait for what comes of it. A checkpoint; cancelled, it is not sent again."""
        self.check()
        ref = self.core.next_ref()
        letter = self._letters[ref] = Letter()
        try:
            self.command(give(ref))
            await letter.told.wait()
        finally:
            del self._letters[ref]
            if letter.fate is None:
                with suppress(MeshError):  # the node has ended meanwhile
                    self.command(self.core.cancel(ref, self._core.now()))
        if letter.fate is None:  # the peer has ended
            self.check()
        assert letter.fate is not None
        return letter.fate

    async def send(self, to: str, topic: str, value: Any) -> None:
        check_recipient(to)
        check_topic(topic)
        body = encode_checked(value)
        error = undelivered(await self.post(lambda ref: self.core.send(ref, to, topic, body, self._core.now())), to, topic)
        if error is not None:
            raise error

    async def broadcast(self, topic: str, value: Any) -> None:
        body = check_broadcast(check_topic(topic), value)
        self._core.check_writable()
        await self._core.turn()
        self._core.check_writable()
        self.command(self.core.broadcast(topic, body, self._core.now()))

    async def reply(self, to: Incoming, value: Any, last: bool, why: str) -> bool:
        body = b"" if why else encode_checked(value)
        fate = await self.post(lambda ref: self.core.reply(ref, to, body, last, why, self._core.now()))
        return fate is Fate.TAKEN

    def ask(self, ref: int, names: tuple[str, ...], topic: str, body: bytes, patience: int) -> None:
        self.command(self.core.ask(ref, names, topic, body, patience, self._core.now()))

    def unask(self, ref: int) -> None:
        with suppress(MeshError):  # the node has ended meanwhile
            self.command(self.core.unask(ref, self._core.now()))


class Letter:
    """Somebody waits for what comes of it."""

    __slots__ = ("fate", "told")

    def __init__(self) -> None:
        self.fate: Fate | None = None
        self.told = trio.Event()


@dataclass(frozen=True, slots=True, eq=False)
class Received:
    """A message, as its subscriber reads it."""

    topic: str
    value: Any
    sender: str
    """The name of the member that sent it."""
    broadcast: bool
    """Whether it went to everyone."""
    question: bool
    """Whether its sender waits for answers."""
    missed: int
    """Messages that came after the one read before, and found no room."""
    _messenger: Messenger
    _incoming: Incoming

    async def reply(self, value: Any, *, more: bool = False) -> bool:
        """Answer it. A checkpoint; while the asker has no room for more answers it waits, until the asker's time is over.

        Parameters
        ----------
        more: further answers follow; the last one says so by leaving it out.

        Returns whether the asker has it: False if it waits no more, or is gone. Raises BadValue, TooLarge; BadConfig if no
        answer is wanted.
        """
        self._wanted()
        return await self._messenger.reply(self._incoming, value, not more, "")

    async def refuse(self, why: str) -> bool:
        """Answer that there is no answer: the asker finds `why` (text of 1 to 200 characters) in `Answers.missing`. Otherwise
        as `reply`."""
        self._wanted()
        if not isinstance(why, str) or not 0 < len(why) <= WHY_CHARACTERS:
            raise BadConfig(f"the reason {why!r} is refused: text of 1 to {WHY_CHARACTERS} characters")
        return await self._messenger.reply(self._incoming, None, True, why)

    def _wanted(self) -> None:
        if not self.question:
            raise BadConfig(f"the message on {self.topic!r} asks for no answer: its sender used `send` or `broadcast`")


class Messages:
    """`async with peer.subscribe(topic) as messages: async for message in messages: …`

    Messages count from the moment of entering the context; what is not read when it is left is dropped, and counted. The
    iteration is a checkpoint and ends with the context; one task iterates at a time."""

    __slots__ = ("_limit", "_messenger", "_subscription", "topic")

    def __init__(self, messenger: Messenger, topic: str, limit: int) -> None:
        if not isinstance(limit, int) or isinstance(limit, bool) or not 0 < limit <= MAX_LIMIT:
            raise BadConfig(f"the limit {limit!r} is out of range: 1 to {MAX_LIMIT:,} messages")
        self.topic = check_topic(topic)
        self._limit = limit
        self._messenger = messenger
        self._subscription: Subscription | None = None

    async def __aenter__(self) -> Messages:
        await trio.lowlevel.checkpoint()
        self._messenger.check()
        self._subscription = self._messenger.core.subscribe(self.topic, self._limit)
        if self._subscription is None:
            raise BadConfig("this peer has too many subscriptions already: leave some, or share one between tasks")
        return self

    async def __aexit__(self, *_: object) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            self._messenger.core.inbox.unsubscribe(subscription)
            waiting = self._messenger.readers.get(subscription.number)
            if waiting is not None:
                waiting.set()

    def __aiter__(self) -> AsyncIterator[Received]:
        return self

    async def __anext__(self) -> Received:
        messenger = self._messenger
        while (subscription := self._subscription) is not None:
            if subscription.unread:
                await messenger.turn()
                taken = subscription.take()
                received = None if taken is None else self._received(*taken)
                if received is not None:
                    return received
                continue
            if messenger.ended:
                break
            waiting = messenger.readers[subscription.number] = trio.Event()
            try:
                await waiting.wait()
            finally:
                messenger.readers.pop(subscription.number, None)
        raise StopAsyncIteration

    def _received(self, incoming: Incoming, missed: int) -> Received | None:
        try:
            value = decode_value(incoming.body)
        except WireError:  # only a faulty member sends such a thing
            self._messenger.core.counts["unreadable"] += 1
            return None
        return Received(
            incoming.topic,
            value,
            incoming.sender,
            incoming.broadcast,
            bool(incoming.question),
            missed,
            self._messenger,
            incoming,
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer to a question."""

    member: str
    """Who gave it."""
    value: Any


class Answers:
    """`async with peer.request(to, topic, value, timeout=5.0) as answers: async for answer in answers: …`

    Answers come as they arrive. The iteration is a checkpoint, and ends when every member that was asked has ended, or the
    time is over; `missing` says then who gave none, and why. One task iterates at a time. Leaving the context gives up what
    has not come."""

    __slots__ = ("_body", "_messenger", "_patience", "_ref", "_to", "asked", "topic")

    def __init__(self, messenger: Messenger, to: str | TagFilter, topic: str, value: Any, timeout: float) -> None:
        if not isinstance(to, str | Mapping):
            raise BadConfig(f"{to!r} is neither a member's name nor a dictionary of tags")
        if not isinstance(to, str):
            check_filter(to)
        self.topic = check_topic(topic)
        self.asked: tuple[str, ...] = ()
        """The members that the question went to, once the context is entered."""
        self._body = encode_checked(value)
        self._patience = check_timeout(timeout)
        self._messenger = messenger
        self._to = to
        self._ref = 0

    async def __aenter__(self) -> Answers:
        await trio.lowlevel.checkpoint()
        messenger = self._messenger
        messenger.check()
        self.asked = messenger.named(self._to)
        self._ref = messenger.core.next_ref()
        messenger.ask(self._ref, self.asked, self.topic, self._body, self._patience)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._messenger.unask(self._ref)
        waiting = self._messenger.askers.get(self._ref)
        if waiting is not None:
            waiting.set()

    @property
    def missing(self) -> dict[str, str]:
        """Who has ended without an answer, and why: `silent`, `not there`, `gone`, `nobody subscribes there`, its own words, ….
        Local; complete when the iteration has ended."""
        asked = self._messenger.core.asked(self._ref)
        return dict(asked.missing) if asked is not None else {}

    def __aiter__(self) -> AsyncIterator[Answer]:
        return self

    async def __anext__(self) -> Answer:
        messenger = self._messenger
        while (asked := messenger.core.asked(self._ref)) is not None:
            if asked.unread:
                await messenger.turn()
                answer = asked.take()
                if answer is not None:
                    try:
                        return Answer(answer.member, decode_value(answer.body))
                    except WireError:  # only a faulty member sends such a thing
                        messenger.core.counts["unreadable"] += 1
                continue
            if asked.over or messenger.ended:
                await trio.lowlevel.checkpoint()
                break
            waiting = messenger.askers[self._ref] = trio.Event()
            try:
                await waiting.wait()
            finally:
                messenger.askers.pop(self._ref, None)
        raise StopAsyncIteration

    async def one(self) -> Any:
        """The value of the first answer. A checkpoint. Raises `NotDelivered` if none comes; its `why` is that of `missing`."""
        async for answer in self:
            return answer.value
        missing = self.missing
        told = "; ".join(f"{member}: {why}" for member, why in missing.items()) or "no member has these tags"
        raise NotDelivered(f"no answer on {self.topic!r} ({told})", next(iter(missing.values()), "nobody"))
