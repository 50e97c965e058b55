"""Messages as users give them: checked, and what became of one as an error. For peers and for the sponsors of thin clients."""

from __future__ import annotations

from typing import Any

from coordination.arguments.checks import check_key, encode_checked
from coordination.errors import BadConfig, NotDelivered, OutcomeUnknown, TooLarge
from mesh.membership.identity import valid_name
from mesh.messaging import BROADCAST_BYTES, MAX_TOPIC_BYTES, Fate

__all__ = ["check_broadcast", "check_broadcast_bytes", "check_recipient", "check_topic", "undelivered"]


def check_recipient(to: str) -> str:
    """To whom a letter goes: what may be a member's name. Raises `BadConfig`, `NotDelivered`."""
    if not isinstance(to, str):
        raise BadConfig(f"{to!r} is no member's name: `request` takes tags, `broadcast` reaches everyone")
    if not valid_name(to):
        raise NotDelivered(f"{to!r} is no member that is alive: see `members`", Fate.ABSENT.value)
    return to


def check_topic(topic: str) -> str:
    """A topic: text of 1 to 256 bytes. Raises `BadKey`, `TooLarge`."""
    check_key(topic, "topic")
    size = len(topic.encode())
    if size > MAX_TOPIC_BYTES:
        raise TooLarge(f"the topic {topic[:40]!r}… is {size} bytes long, above {MAX_TOPIC_BYTES}: shorten it")
    return topic


def check_broadcast(topic: str, value: Any) -> bytes:
    """The body of a broadcast. Raises `BadValue`, `TooLarge`."""
    return check_broadcast_bytes(topic, encode_checked(value))


def check_broadcast_bytes(topic: str, body: bytes) -> bytes:
    """Raises `TooLarge`."""
    size = len(topic.encode()) + len(body)
    if size > BROADCAST_BYTES:
        raise TooLarge(
            f"topic and value of a broadcast are {size:,} bytes encoded, above the {BROADCAST_BYTES} that one datagram carries "
            "to everyone: put the value under a key, and broadcast the key"
        )
    return body


def undelivered(fate: Fate, to: str, topic: str) -> NotDelivered | OutcomeUnknown | None:
    """The error that a letter's fate is; None for one that was taken."""
    match fate:
        case Fate.TAKEN:
            return None
        case Fate.NOBODY:
            return NotDelivered(f"nobody at {to} subscribes to {topic!r}", fate.value)
        case Fate.FULL:
            return NotDelivered(f"the subscriber to {topic!r} at {to} does not read: it has no room for more", fate.value)
        case Fate.ABSENT:
            return NotDelivered(f"{to} is no member that is alive: see `members`", fate.value)
        case Fate.BUSY:
            return NotDelivered(f"too many messages to {to} wait already: wait for those first", fate.value)
    return OutcomeUnknown(
        f"{to} was sent the message on {topic!r}, and has gone without an answer: it may have taken it, or not"
    )
