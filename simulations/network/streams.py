"""TCP between machines: ordered bytes with latency, as the shell's streams behave.

- A dial is tried at 0, 1 and 3 s and given up as `silent` after 5; a machine without the process refuses it.
- A lost segment delays what is behind it (200 ms, doubling); nothing is ever lost of a stream that lives.
- A limited link carries a stream in pieces, as there is room; the rest waits at its sender. TCP's checksum lets some errors
  pass: noise changes bits of what is written.
- A cut holds the bytes back. Healed, they go on after a time of up to as long again as they waited: retransmissions back off.
  A stream that has been cut for `KEEPALIVE` is reset at both ends.
- A process that dies closes its streams: what it wrote arrives, then the end. If it left anything unread it is a reset. A
  machine that loses its power says nothing: the far end finds out by keepalive, or by writing once it is up again.
- A paused process is connected to, and written to, up to the buffers' bound; then the writer is cut off.
- Of a close the far end hears `closed`, and its own end is closed with it. The one who closed hears nothing more."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from mesh.directives import Address
from simulations.dice import mix
from simulations.machine.inbox import Inbox
from simulations.machine.machine import Machine
from simulations.machine.process import Process
from simulations.network.corruption import flipped
from simulations.network.lines import HEADERS, Lines
from simulations.network.network import Link, Network
from simulations.schedule import Schedule
from simulations.trace import Trace

__all__ = ["KEEPALIVE", "Streams"]

MS = 1_000_000
SECOND = 1_000 * MS
ATTEMPTS = (1 * SECOND, 2 * SECOND)
"""Between one SYN and the next."""
CONNECT = 5 * SECOND
KEEPALIVE = 60 * SECOND
FIRST_RETRANSMISSION = 200 * MS
LONGEST_BACKOFF = 60 * SECOND
STREAM_BYTES = 16 << 20
"""The kernel's buffers at both ends, and what the shell holds for a far end that does not read."""
FIRST_PORT = 32_768
PORTS = 28_000


class Dial:
    """One stream that is being dialled."""

    __slots__ = ("address", "over", "process", "stream")

    def __init__(self, process: Process, stream: int, address: Address) -> None:
        self.process = process
        self.stream = stream
        self.address = address
        self.over = False


class End:
    """One end of a connection."""

    __slots__ = ("connection", "inbox", "number", "open", "outgoing", "process")

    def __init__(self, process: Process, number: int | None) -> None:
        self.process = process
        self.number = number
        """The node's; None until it is accepted."""
        self.open = True
        self.inbox = Inbox(STREAM_BYTES)
        self.outgoing: Pipe
        self.connection: Connection


class Pipe:
    """One direction: what is under way, in order."""

    __slots__ = ("bytes", "items", "last", "link", "release", "stalled", "target")

    def __init__(self, link: Link, target: End) -> None:
        self.link = link
        self.target: End | None = target
        """None once both ends are over: what is still under way concerns nobody."""
        self.items: deque[tuple[int, bytes | str]] = deque()
        """(when it arrives, bytes or the reason of the end)."""
        self.bytes = 0
        self.last = 0
        self.stalled: int | None = None
        """Since when the link holds it back."""
        self.release = 0


class Connection:
    __slots__ = ("cut_since", "ends", "number", "orphaned", "pipes")

    def __init__(self, number: int, ends: tuple[End, ...], pipes: tuple[Pipe, ...]) -> None:
        self.number = number
        self.ends = ends
        self.pipes = pipes
        self.cut_since: int | None = None
        self.orphaned = False
        """The machine of one end lost its power."""

    def let_go(self) -> None:
        """If both ends are over. A connection is a circle, of which a world has very many, and would wait for the garbage
        collector with all that its buffers take."""
        if not any(end.open for end in self.ends):
            for pipe in self.pipes:
                pipe.target = None
            self.ends, self.pipes = (), ()


class Streams:
    def __init__(self, schedule: Schedule, network: Network, trace: Trace, places: dict[Address, Machine]) -> None:
        self._schedule = schedule
        self._network = network
        self._trace = trace
        self._places = places
        self._dials: dict[tuple[Process, int], Dial] = {}
        self._ends: dict[tuple[Process, int], End] = {}
        self._connections: dict[int, Connection] = {}
        self._lines = Lines(schedule, network, self._launch)
        self._number = 0

    def __len__(self) -> int:
        return len(self._connections)

    def end(self, process: Process, stream: int) -> End | None:
        """This end of a connection, once its process knows that it stands."""
        return self._ends.get((process, stream))

    # --- dialling ------------------------------------------------------------------------------------------------------

    def connect(self, process: Process, stream: int, address: Address) -> None:
        dial = self._dials[process, stream] = Dial(process, stream, address)
        self._trace.add(self._schedule.now, process.machine, "dial", f"{stream} {address}")
        self._schedule.after(CONNECT, self._fail, dial, "silent")
        self._attempt(dial, 0)

    def _attempt(self, dial: Dial, attempt: int) -> None:
        if dial.over:
            return
        machine = self._places.get(dial.address)
        if machine is not None:
            link = self._network.link(dial.process.machine, machine.name)
            draw = link.draw()
            waits = None if link.cut or draw & 0xFFFF < link.loss else link.enter(HEADERS, self._schedule.now)
            if waits is not None:
                self._schedule.after(waits + link.latency(draw), self._asked, dial, machine)
        if attempt < len(ATTEMPTS):
            self._schedule.after(ATTEMPTS[attempt], self._attempt, dial, attempt + 1)

    def _asked(self, dial: Dial, machine: Machine) -> None:
        link = self._network.link(dial.process.machine, machine.name)
        back = self._network.link(machine.name, dial.process.machine)
        if dial.over or not machine.up or link.cut or back.cut:
            return
        wait = back.latency(back.draw())
        far = machine.process
        if far is None or far.deaf or not far.bound:
            self._schedule.after(wait, self._fail, dial, "refused")
            return
        near_end, far_end = End(dial.process, dial.stream), End(far, None)
        if not far.holds:
            self._establish(near_end, far_end, link, back)
            self._accept(far_end)
        elif far.hold(far.accepts, 1, self._accept, far_end):
            self._establish(near_end, far_end, link, back)
        else:
            return
        dial.over = True
        far_end.outgoing.last = self._schedule.now + wait  # nothing overtakes the answer
        self._schedule.at(far_end.outgoing.last, self._connected, dial, near_end)

    def _establish(self, near: End, far: End, there: Link, back: Link) -> None:
        self._number += 1
        near.outgoing, far.outgoing = Pipe(there, far), Pipe(back, near)
        connection = Connection(self._number, (near, far), (near.outgoing, far.outgoing))
        near.connection = far.connection = self._connections[self._number] = connection

    def _accept(self, end: End) -> None:
        process = end.process
        if process.deaf:
            return
        assert end.outgoing.target is not None
        far = end.outgoing.target.process
        address = f"{far.address.rpartition(':')[0]}:{FIRST_PORT + end.connection.number % PORTS}"
        end.number = process.node.on_accept(address, process.instant())
        self._ends[process, end.number] = end
        self._trace.add(self._schedule.now, process.machine, "accept", f"{end.number} {far.machine}")
        process.perform()
        self._drain(end)

    def _connected(self, dial: Dial, end: End) -> None:
        if dial.process.holds and not dial.process.deaf:
            self._hold(end, 0, self._begin, dial, end)
        else:
            self._begin(dial, end)

    def _begin(self, dial: Dial, end: End) -> None:
        process = dial.process
        if self._dials.get((process, dial.stream)) is not dial or process.deaf:
            end.open = False
            self._push(end.outgoing, "closed")
            return
        del self._dials[process, dial.stream]
        self._ends[process, dial.stream] = end
        self._trace.add(self._schedule.now, process.machine, "connected", str(dial.stream))
        process.node.on_connected(dial.stream, process.instant())
        process.perform()

    def _fail(self, dial: Dial, reason: str) -> None:
        process = dial.process
        if dial.over or self._dials.get((process, dial.stream)) is not dial:
            return
        dial.over = True
        if process.holds and process.alive:
            process.hold(process.streams.setdefault(-dial.stream, Inbox(STREAM_BYTES)), 0, self._failed, dial, reason)
        else:
            self._failed(dial, reason)

    def _failed(self, dial: Dial, reason: str) -> None:
        process = dial.process
        if self._dials.pop((process, dial.stream), None) is dial and not process.deaf:
            self._trace.add(self._schedule.now, process.machine, "end", f"{dial.stream} {reason}")
            process.node.on_stream_end(dial.stream, reason, process.instant())
            process.perform()

    # --- what the node asks --------------------------------------------------------------------------------------------

    def write(self, process: Process, stream: int, data: bytes) -> None:
        end = self._ends.get((process, stream))
        if end is None or not end.open:
            process.counts["tcp_unwritable"] += 1
            return
        self._trace.add(self._schedule.now, process.machine, "write", str(stream), data)
        pipe = end.outgoing
        far = pipe.target
        assert far is not None
        if pipe.bytes + far.inbox.held + len(data) > STREAM_BYTES:
            process.counts["tcp_overrun"] += 1
            self._push(pipe, "reset")
            self._schedule.after(0, self._end, end, "reset")
            return
        if end.connection.orphaned:
            machine = self._places.get(far.process.address)
            if machine is not None and machine.up and not pipe.link.cut:
                back = self._network.link(machine.name, process.machine)
                there = pipe.link.latency(pipe.link.draw())
                self._schedule.after(there + back.latency(back.draw()), self._end, end, "reset")
            return
        pipe.bytes += len(data)
        self._push(pipe, data)

    def close(self, process: Process, stream: int) -> None:
        dial = self._dials.pop((process, stream), None)
        if dial is not None:
            dial.over = True
            return
        end = self._ends.pop((process, stream), None)
        if end is not None and end.open:
            self._trace.add(self._schedule.now, process.machine, "close", str(stream))
            end.open = False
            self._push(end.outgoing, "closed")

    # --- under way -----------------------------------------------------------------------------------------------------

    def _push(self, pipe: Pipe, item: bytes | str) -> None:
        link = pipe.link
        if link.version != self._network.version:
            self._network.refresh(link)
        draw = link.draw()
        if self._lines.waits(link, pipe):
            self._lines.add(link, pipe, item, draw)
        else:
            self._launch(pipe, item, draw, 0)

    def _launch(self, pipe: Pipe, item: bytes | str, draw: int, waits: int) -> None:
        """On its way, once it has waited in the link's queue for so many ns."""
        link, now = pipe.link, self._schedule.now
        change = link.corrupts(draw, stream=True) if link.hampered and isinstance(item, bytes) else 0
        if change and isinstance(item, bytes):
            item = flipped(item, change, 1 + (change & 3))
            self._trace.add(now, link.source, "corrupt", link.target, item)
        at = now + waits + link.latency(draw)
        back_off = FIRST_RETRANSMISSION
        while draw & 0xFFFF < link.loss and back_off < LONGEST_BACKOFF:
            at += back_off
            back_off *= 2
            draw = mix(draw + 1)
        pipe.last = at = max(at, pipe.last)
        pipe.items.append((at, item))
        self._schedule.at(at, self._pump, pipe)

    def _pump(self, pipe: Pipe) -> None:
        link, now = pipe.link, self._schedule.now
        if link.version != self._network.version:
            self._network.refresh(link)
        if now < pipe.release:
            return
        while pipe.items and pipe.items[0][0] <= now:
            if link.cut:
                if pipe.stalled is None:
                    pipe.stalled = now
                return
            _, item = pipe.items.popleft()
            target = pipe.target
            if target is None:
                return
            if isinstance(item, bytes):
                pipe.bytes -= len(item)
                self._arrive(target, item)
            else:
                self._end(target, item)

    def _arrive(self, end: End, data: bytes) -> None:
        if not end.open or end.process.deaf:
            return
        if end.process.holds or end.inbox.items or end.number is None:
            self._hold(end, len(data), self._read, end, data)
        else:
            self._read(end, data)

    def _hold(self, end: End, size: int, action: Callable[..., None], *args: object) -> None:
        if end.number is not None:
            end.process.streams[end.connection.number] = end.inbox
        end.process.hold(end.inbox, size, action, *args)

    def _drain(self, end: End) -> None:
        """What came while it waited to be accepted."""
        process = end.process
        if process.holds and end.inbox.items:
            process.streams[end.connection.number] = end.inbox
        while end.inbox.items and not process.deaf and not process.holds:
            end.inbox.take()

    def _read(self, end: End, data: bytes) -> None:
        process = end.process
        if not end.open or process.deaf or end.number is None:
            return
        self._trace.add(self._schedule.now, process.machine, "read", str(end.number), data)
        process.node.on_stream(end.number, data, process.instant())
        process.perform()

    # --- ends ----------------------------------------------------------------------------------------------------------

    def _end(self, end: End, reason: str) -> None:
        """The far end has closed, or the connection broke."""
        process = end.process
        if process.alive and end.open and (process.holds or end.inbox.items or end.number is None):
            self._hold(end, 0, self._ended, end, reason)
        else:
            self._ended(end, reason)

    def _ended(self, end: End, reason: str) -> None:
        self._connections.pop(end.connection.number, None)
        process = end.process
        if not end.open or end.number is None:
            end.connection.let_go()
            return
        end.open = False
        self._ends.pop((process, end.number), None)
        end.connection.let_go()
        if not process.deaf:
            self._trace.add(self._schedule.now, process.machine, "end", f"{end.number} {reason}")
            process.node.on_stream_end(end.number, reason, process.instant())
            process.perform()

    def gone(self, process: Process, *, power: bool = False) -> None:
        """The process has died, by itself or with its machine."""
        for key in [key for key in self._dials if key[0] is process]:
            self._dials.pop(key).over = True
        for connection in list(self._connections.values()):
            for end in connection.ends:
                if end.process is not process or not end.open:
                    continue
                end.open = False
                if end.number is not None:
                    self._ends.pop((process, end.number), None)
                if power:
                    connection.orphaned = True
                    self._lines.forget(end.outgoing.link, end.outgoing)
                    self._schedule.after(KEEPALIVE, self._end, end.outgoing.target, "reset")
                else:
                    self._push(end.outgoing, "reset" if end.inbox.items or end.number is None else "closed")

    def network_changed(self) -> None:
        """Rules came or went: let go on what was held back, and watch what is cut."""
        now = self._schedule.now
        self._lines.network_changed()
        for connection in list(self._connections.values()):
            cut = False
            for pipe in connection.pipes:
                if pipe.link.version != self._network.version:
                    self._network.refresh(pipe.link)
                if pipe.link.cut:
                    cut = True
                elif pipe.stalled is not None:
                    draw = pipe.link.draw()
                    waited = min(now - pipe.stalled, LONGEST_BACKOFF)
                    pipe.release = now + pipe.link.latency(draw) + (mix(draw) >> 32) * waited // (1 << 32)
                    pipe.last = max(pipe.last, pipe.release)
                    pipe.stalled = None
                    self._schedule.at(pipe.release, self._pump, pipe)
            if not cut:
                connection.cut_since = None
            elif connection.cut_since is None:
                connection.cut_since = now
                self._schedule.after(KEEPALIVE, self._break, connection, now)

    def _break(self, connection: Connection, since: int) -> None:
        if connection.cut_since == since and connection.number in self._connections:
            self._reset(connection)

    def _reset(self, connection: Connection) -> None:
        for end in connection.ends:
            end.outgoing.items.clear()
            self._lines.forget(end.outgoing.link, end.outgoing)
            self._end(end, "reset")

    def reset_all(self) -> int:
        """A box in the middle forgets what it forwarded: every connection is reset at both ends; how many there were."""
        connections = list(self._connections.values())
        for connection in connections:
            self._reset(connection)
        return len(connections)
