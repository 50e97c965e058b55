"""The node: parts put together, with everything between them and a driver.

It decides nothing of the protocol. Here is what a driver tells it, and what it asks: each input is a step or the beginning of
one, which `mesh.step` carries through, and afterwards the driver takes the outputs. What comes in is opened, and each message
goes to the part that handles its type.

Everything dropped is counted in `stats`."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from crdt.clock import Instant
from mesh.directives import Address, Bye, Directives, Part, Refused, StoreFailing, StoreRestored
from mesh.outputs import Output, StreamWrite
from mesh.seal import Kind, Opened, Refusal
from mesh.step import NODE, Stepper
from mesh.timers import Timers

__all__ = ["Node"]


class Node(Stepper):
    """A whole peer without I/O.

    Parameters
    ----------
    identity: name, boot and advertised address; shared with the parts.
    keyring: the mesh's secrets.
    entropy: random bytes for salts and nonces; `os.urandom` outside simulations.
    parts: in the order in which they are started and told of events.
    datagram_bytes: the largest sealed datagram.
    memory: what it remembers over restarts; without one it records nothing.
    envelope: how messages become datagrams; on a network they are sealed, always.
    """

    # --- inputs ----------------------------------------------------------------------------------------------------

    def start(self, now: Instant) -> None:
        self._now = now
        for index, part in enumerate(self.parts):
            self._perform(index, part.start(now))
        self._finish()

    def on_datagram(self, data: bytes, address: Address, now: Instant) -> None:
        self._now = now
        self._datagram(data, address)
        self._finish()

    def on_datagrams(self, batch: Sequence[tuple[bytes, Address]], now: Instant) -> None:
        """Datagrams that were read together, in order: one step each, but what they make this node send leaves together."""
        self._now = now
        for data, address in batch:
            if self._halted:
                break
            self._datagram(data, address)
            if self._queue:
                self._settle()
        self._finish()

    def _datagram(self, data: bytes, address: Address) -> None:
        try:
            opened = self._envelope.open(data)
        except Refusal as refusal:
            self._counts[f"refused_{refusal.reason}"] += 1
            if refusal.reason == "unknown_key":
                self._publish(self._introductions.unknown_key(address, self._now.mono))
            return
        if opened.known and opened.kind == Kind.PAIR:
            contact = self._contacts.by_session.get(opened.sender)
            if contact is not None and not contact.heard:
                contact.heard, contact.unproven = True, ()
            self._frame(opened.plaintext, self._contacts.source(opened.sender, address, None))
        else:
            self._introduction(opened, address, len(data))

    def _introduction(self, opened: Opened, address: Address, size: int) -> None:
        met = self._introductions.receive(opened, address, size, self.mark, self._now.mono)
        if met.counted:
            self._counts[met.counted] += 1
        if met.answer is not None:
            self._outputs.append(met.answer)
        if met.frame is not None:
            self._frame(met.frame, self._contacts.source(opened.sender, address, None))
        if met.greeted is not None:
            self._queue.append((NODE, met.greeted))

    def on_accept(self, address: Address, now: Instant) -> int:
        """A stream was accepted by the driver; the answer is its number from now on."""
        self._now = now
        return self._carriage.accept(address, now.mono)

    def on_connected(self, stream: int, now: Instant) -> None:
        self._now = now
        opening = self._streams.connected(stream)
        if opening:
            self._outputs.append(StreamWrite(stream, opening))

    def on_stream(self, stream: int, data: bytes, now: Instant) -> None:
        self._now = now
        received = self._streams.received(stream, data)
        if received is None:
            return
        if received.reply:
            self._outputs.append(StreamWrite(stream, received.reply))
        if received.up is not None:
            self._carriage.up(received.up, self.mark, now.mono)
            self._settle()
        for plaintext in received.plaintexts:
            if not self._streams.is_up(stream):  # a part, or what came before, has closed it: nothing more is wanted
                break
            session, far = self._streams.far(stream)
            self._frame(plaintext, self._contacts.source(session, far, stream))
        if received.error is not None:
            self._counts[f"stream_{received.error}"] += 1
            if received.error == "unknown_key":
                self._publish(self._introductions.other_secret(self._streams.address(stream), now.mono))
            self._carriage.close(stream, received.error)
        self._finish()

    def on_stream_end(self, stream: int, reason: str, now: Instant) -> None:
        self._now = now
        self._carriage.down(stream, reason)
        self._finish()

    def on_refused(self, address: Address, now: Instant) -> None:
        """The operating system says that nothing listens there."""
        self._now = now
        self._counts["refused_datagrams"] += 1
        self._queue.append((NODE, Refused(address)))
        self._finish()

    def on_committed(self, number: int, now: Instant) -> None:
        """A batch of records is durable."""
        memory = self._memory
        assert memory is not None
        self._now = now
        if memory.error:
            self._queue.append((NODE, StoreRestored()))
        for owner, directives in memory.committed(number):
            self._perform(owner, directives)
        self._finish()

    def on_commit_failed(self, number: int, error: str, now: Instant) -> None:
        """A batch of records is not durable, and no part of it: it will be tried again."""
        memory = self._memory
        assert memory is not None
        self._now = now
        self._counts["failed_commits"] += 1
        first = not memory.error
        self._timers.arm(NODE, ("commit",), memory.failed(number, error, now.mono))
        if first:
            self._queue.append((NODE, StoreFailing(memory.error)))
        self._finish()

    def on_due(self, now: Instant) -> None:
        self._now = now
        while (due := self._timers.pop(now.mono)) is not None:
            owner, timer = due
            if owner == NODE:
                self._own_timer(timer)
            else:
                self._perform(owner, self.parts[owner].on_timer(timer, now))
            if self._queue:
                self._settle()
        self._finish()

    def _own_timer(self, timer: Hashable) -> None:
        match timer:
            case ("handshake", int(stream)):
                self._carriage.close(stream, "unanswered")
            case ("idle",):
                self._carriage.on_idle(self._now.mono)
            case ("commit",):
                pass  # the step that it wakes begins the batch

    def command(self, part: Part, directives: Directives, now: Instant) -> None:
        """Perform what a local command of a part answered."""
        self._now = now
        self._perform(self._index[id(part)], directives)
        self._finish()

    def stop(self, now: Instant) -> None:
        """Stop gracefully: every part says its last, streams are closed, no timer is left."""
        self._now = now
        self._queue.append((NODE, Bye()))
        self._finish()
        for stream in self._streams.open():
            self._carriage.close(stream, "bye")
        self._queue.clear()
        self.keep_time(Timers())

    def keep_time(self, timers: Timers) -> None:
        """By these timers from now on."""
        self._timers, self.due = timers, timers.due

    def take(self) -> list[Output]:
        """The outputs since the last call, in order."""
        outputs = self._outputs
        if outputs:
            self._outputs = []
        return outputs

    def stats(self) -> dict[str, int]:
        """Every count of the node and its parts, by `part.count`."""
        counts = {f"node.{name}": count for name, count in sorted(self._counts.items())}
        counts["node.datagrams_sent"] = self._datagrams
        counts["node.messages_sent"] = self._messages
        counts["node.streams"] = len(self._streams)
        counts["node.contacts"] = len(self._contacts)
        counts["node.timers"] = len(self._timers)
        counts["node.undelivered"] = self._carriage.courier.dropped
        if self._memory is not None:
            counts.update({f"memory.{name}": count for name, count in self._memory.stats().items()})
        for part in self.parts:
            for name, count in part.stats().items():
                counts[f"{part.name}.{name}"] = count
        return counts
