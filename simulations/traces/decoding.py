"""What nodes said to each other, read with the keyring of who says it: for traces. Nothing of it touches a node.

A datagram is opened as its receiver would open it, without the receiver's memory. A stream is read by two channels that stand
in for its ends: their salts are those that the ends wrote in the clear. A session is known once its process has sent something
that could be opened, and nobody seals for a session of which nothing has come."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from crdt.cell import Cell
from mesh.channel import GREETING_BYTES, MAGIC, SALT_BYTES, Channel, ChannelError, MakeKeys, SealedKeys
from mesh.directives import Address
from mesh.hello import COOKIE_BYTES
from mesh.keyring import KEY_ID_BYTES, Keyring
from mesh.seal import SESSION_BYTES, Kind, Refusal, Seal
from mesh.wire import Frame, WireError, unpack

__all__ = ["Brief", "Decoder"]

NOBODY = bytes(SESSION_BYTES)
"""Opens what is sealed for nobody in particular: a hello."""
SHOWN_ITEMS = 4
SHOWN_TEXT = 60
SHOWN = 400
"""Characters of one message."""


class Brief:
    """Values in a few words: sessions by the name of their process, long things by their size.

    Parameters
    ----------
    names: of sessions; more may come to it."""

    def __init__(self, names: dict[bytes, str]) -> None:
        self.names = names

    def __call__(self, value: object) -> str:
        text = self._of(value)
        return text if len(text) <= SHOWN else text[:SHOWN] + "…"

    def _of(self, value: Any) -> str:
        if isinstance(value, bytes):
            return self.names.get(value) or (value.hex() if len(value) <= 8 else f"{value[:4].hex()}…{len(value)}")
        if isinstance(value, str):
            return value if len(value) <= SHOWN_TEXT else f"{value[:SHOWN_TEXT]}…{len(value)}"
        if isinstance(value, Cell):
            return f"{value.key}@{self._of(value.actor)}.{value.n}{'' if value.body is not None else ' no value'}"
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            if "session" in value._fields:  # a boot: its session says it all
                return self._of(value.session)  # type: ignore[attr-defined]
            return self._called(type(value).__name__, zip(value._fields, value, strict=True))
        if isinstance(value, Collection) and not isinstance(value, dict):
            items = [self._of(item) for item in value]
            items = items if isinstance(value, Sequence) else sorted(items)
            more = [f"{len(items) - SHOWN_ITEMS} more"] if len(items) > SHOWN_ITEMS else []
            return f"[{', '.join([*items[:SHOWN_ITEMS], *more])}]"
        if is_dataclass(value) and not isinstance(value, type):
            names = [field.name for field in fields(value)]
            if "session" in names and len(names) == 2:
                return self._of(value.session)  # type: ignore[attr-defined]
            return self._called(type(value).__name__, ((name, getattr(value, name)) for name in names))
        return str(value)

    def _called(self, name: str, held: Iterable[tuple[str, Any]]) -> str:
        parts = [f"{field}={self._of(value)}" for field, value in held if value is not None and value not in ((), b"", "")]
        return f"{name}({', '.join(parts)})"


class _Line:
    """One connection: what each end wrote until both greetings were there, then who reads it."""

    def __init__(self) -> None:
        self.greetings = bytearray(), bytearray()
        self.readers: tuple[Channel, Channel] | None = None
        """By the end that writes."""


class Decoder:
    """Of one world."""

    def __init__(self) -> None:
        self.names: dict[bytes, str] = {}
        """Of each session that has been seen, its process: `n1#2`."""
        self.brief = Brief(self.names)
        self._sessions: dict[Address, list[bytes]] = {}
        self._lines: dict[int, _Line] = {}

    def learn(self, session: bytes, address: Address, name: str) -> None:
        """A process, by its name and its boot, and where it is."""
        if session not in self.names:
            self.names[session] = name
            self._sessions.setdefault(address, []).append(session)

    def datagram(self, keyring: Keyring, name: str, source: Address, target: Address, data: bytes) -> str:
        """What the process `name` at `source` sends."""
        for session in (*reversed(self._sessions.get(target, ())), NOBODY):
            try:
                opened = Seal(keyring, session, bytes).open(data)
            except Refusal:
                continue
            self.learn(opened.sender, source, name)
            match opened.kind:
                case Kind.HELLO:
                    return "hello"
                case Kind.COOKIE:
                    return "cookie"
                case Kind.PROOF:
                    return f"proof, {self._frame(opened.plaintext[COOKIE_BYTES:])}"
            return self._frame(opened.plaintext)
        return f"{len(data)} bytes that cannot be read"

    def written(
        self, keyring: Keyring, connection: int, end: int, data: bytes, ends: Sequence[tuple[str, Address]],
        make: MakeKeys = SealedKeys,
    ) -> str:  # fmt: skip
        """What `end` (0 dialled) of a connection writes; `ends` are the processes and addresses of both, `make` their keys."""
        line = self._lines.setdefault(connection, _Line())
        if line.readers is not None:
            return self._frames(line.readers[end], data)
        greetings = line.greetings
        greetings[end].extend(data)
        if not all(greeting.startswith(MAGIC) and len(greeting) >= GREETING_BYTES for greeting in greetings):
            return "greeting"
        dialler, accepter = [bytes(greeting[-SESSION_BYTES - SALT_BYTES :]) for greeting in _cut(greetings)]
        line.readers = readers = _stand_in(keyring, accepter, False, make), _stand_in(keyring, dialler, True, make)
        for side, (name, address) in enumerate(ends):
            self.learn((dialler, accepter)[side][:SESSION_BYTES], address, name)
        texts = [self._frames(readers[side], bytes(greetings[side])) for side in (0, 1)]
        return ", ".join(["greeting", *[texts[end]] * (texts[end] != "handshake")])

    def _frames(self, reader: Channel, data: bytes) -> str:
        try:
            plaintexts = reader.receive(data)
        except ChannelError as problem:
            return f"{len(data)} bytes that cannot be read: {problem.reason}"
        return ", ".join([self._frame(plaintext) for plaintext in plaintexts]) or "handshake"

    def _frame(self, plaintext: bytes) -> str:
        try:
            frame = unpack(plaintext)
        except WireError as problem:
            return f"no frame: {problem}"
        return self.messages(frame)

    def messages(self, frame: Frame) -> str:
        """What is in a frame."""
        odd = frame.unknown + frame.invalid
        return ", ".join([*map(self.brief, frame.messages), *[f"{odd} not understood"] * (odd > 0)]) or "nothing"


def _cut(greetings: Iterable[bytearray]) -> list[bytearray]:
    return [greeting[len(MAGIC) + KEY_ID_BYTES : GREETING_BYTES] for greeting in greetings]


def _stand_in(keyring: Keyring, session_and_salt: bytes, initiator: bool, make: MakeKeys) -> Channel:
    """An end that reads what the other one writes."""
    session, salt = session_and_salt[:SESSION_BYTES], session_and_salt[SESSION_BYTES:]
    channel = Channel(keyring, session, lambda n: salt, initiator=initiator, make=make)
    if initiator:
        channel.opening()
    return channel
