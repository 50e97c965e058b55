"""The streams of a node: whom it dials, what travels on which, and when each is given up.

Two kinds use them: parts, which dial, write and close by themselves (`Dial`, `Write`, `Close`); and messages that no datagram
holds, for which the node keeps a stream of its own to each receiver (`mesh.courier`). The node feeds what comes in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable

from mesh.channel import MAX_FRAME
from mesh.contacts import Contact, Contacts
from mesh.courier import IDLE, Courier
from mesh.directives import Address, ChannelUp, Event
from mesh.outputs import Connect, Output, StreamClose, StreamWrite
from mesh.seal import Seal
from mesh.streams import HANDSHAKE, Streams
from mesh.wire import FRAME_OVERHEAD, pack

__all__ = ["Carriage"]


class Carriage:
    """Parameters
    ----------
    streams: with what is dialled and accepted.
    seal, contacts: are told who has proven itself on a stream.
    counts: of the node.
    output, event: take what is to be done, and what has happened.
    arm, disarm: the node's own timers.
    """

    __slots__ = ("_arm", "_contacts", "_counts", "_disarm", "_event", "_idling", "_output", "_seal", "courier", "streams")

    def __init__(
        self,
        streams: Streams,
        seal: Seal,
        contacts: Contacts,
        counts: Counter[str],
        *,
        output: Callable[[Output], None],
        event: Callable[[Event], None],
        arm: Callable[[Hashable, int], None],
        disarm: Callable[[Hashable], None],
    ) -> None:
        self.streams = streams
        self.courier = Courier()
        self._seal = seal
        self._contacts = contacts
        self._counts = counts
        self._output = output
        self._event = event
        self._arm = arm
        self._disarm = disarm
        self._idling = False
        """It is being looked whether streams are idle."""

    # --- their lives -----------------------------------------------------------------------------------------------

    def dial(self, address: Address, tag: Hashable, mono: int, key: bytes = b"") -> int:
        stream = self.streams.dial(address, tag, key)
        self._arm(("handshake", stream), mono + HANDSHAKE)
        self._output(Connect(stream, address))
        return stream

    def accept(self, address: Address, mono: int) -> int:
        stream = self.streams.accept(address)
        self._arm(("handshake", stream), mono + HANDSHAKE)
        return stream

    def up(self, up: ChannelUp, mark: int, mono: int) -> None:
        """The far end has proven itself: what waited for it goes."""
        self._disarm(("handshake", up.channel))
        self._seal.know(up.session)
        self._contacts.greeted(up.session)
        waited = self.courier.established(up.channel, up.session)
        if waited is None:
            self.close(up.channel, "another")
            return
        for encoded in waited:
            self.write(up.channel, encoded, mark)
        route = self.courier.route(up.session)
        if route is not None and route.channel == up.channel:
            route.used = mono
            if not self._idling:
                self._idling = True
                self._arm(("idle",), mono + IDLE)
        self._event(up)

    def close(self, stream: int, reason: str) -> None:
        if self.down(stream, reason):
            self._output(StreamClose(stream))

    def down(self, stream: int, reason: str) -> bool:
        """Whether the stream had not ended before."""
        down = self.streams.ended(stream, reason)
        if down is None:
            return False
        self._disarm(("handshake", stream))
        self.courier.ended(stream)
        self._event(down)
        return True

    def on_idle(self, mono: int) -> None:
        """Close those that have carried nothing for long."""
        for stream in self.courier.idle(mono):
            self.close(stream, "idle")
        self._idling = len(self.courier) > 0
        if self._idling:
            self._arm(("idle",), mono + IDLE)

    # --- what they carry -------------------------------------------------------------------------------------------

    def carry(self, contact: Contact, encoded: bytes, mark: int, mono: int) -> None:
        """Send over the stream to that process, dialled at need."""
        route = self.courier.route(contact.session)
        if route is None:
            key = self._seal.keyring.key_to(contact.session)
            route = self.courier.begin(contact.session, self.dial(contact.address, ("courier", contact.session), mono, key))
        if route.up:
            route.used = mono
            self.write(route.channel, encoded, mark)
        else:
            self.courier.hold(route, encoded)

    def write(self, channel: int, encoded: bytes, mark: int) -> None:
        if len(encoded) > MAX_FRAME - FRAME_OVERHEAD:
            self._counts["too_large"] += 1
            return
        data = self.streams.seal(channel, pack((encoded,), mark))
        if data is None:
            self._counts["unwritable"] += 1
        else:
            self._output(StreamWrite(channel, data))
