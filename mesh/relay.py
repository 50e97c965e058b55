"""What a sponsor passes on to a thin client."""

from __future__ import annotations

from mesh.directives import Message
from mesh.wire import Name, message

__all__ = ["Relayed"]


@message(1)
class Relayed(Message):
    """A message to `ID@SPONSOR`, on its way to the sponsor, which writes it to that client's stream."""

    client: Name
    payload: bytes
    """The encoded message."""
