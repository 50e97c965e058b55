"""Frames that are recorded once and decoded by every later version.

    python -m tests.mesh.golden_frames             compares the record with what this version reads
    python -m tests.mesh.golden_frames --write     records what is not in there yet: new messages, and new forms of old ones

A recorded frame is `pack` of one message, in hexadecimal, beside the fields that it was made from. Two examples stand for
each message: one in which everything optional is there, one as small as can be."""

from __future__ import annotations

import json
import sys
from dataclasses import fields, is_dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

from mesh.directives import Message
from mesh.wire import WireError, encode, pack, unpack
from tests.mesh.wire_values import bare, full, product_messages

__all__ = ["RECORD", "differences", "load_record", "make_record", "plain"]

RECORD = Path(__file__).parent / "golden" / "frames.json"
CUT = 7

Record = dict[str, Any]


def plain(value: Any) -> Any:
    """A decoded value as JSON: fields by name, bytes in hexadecimal."""
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if hasattr(value, "_fields"):
        return {name: plain(getattr(value, name)) for name in value._fields}
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, IntEnum):
        return int(value)
    return value


def make_record() -> Record:
    """Every message class of the product, with its examples."""
    return {
        cls.__name__: {"number": number, "examples": [_recorded(full(cls)), _recorded(bare(cls))]}
        for number, cls in product_messages()
    }


def extended(record: Record) -> Record:
    """The record with what this version writes otherwise; nothing that was recorded goes."""
    for name, entry in make_record().items():
        known = record.setdefault(name, {"number": entry["number"], "examples": []})["examples"]
        frames = [example["frame"] for example in known]
        known += [example for example in entry["examples"] if example["frame"] not in frames]
    return dict(sorted(record.items(), key=lambda item: item[1]["number"]))


def _recorded(example: Message) -> dict[str, Any]:
    return {"frame": pack((encode(example),), CUT).hex(), "fields": plain(example)}


def load_record() -> Record:
    record: Record = json.loads(RECORD.read_text())
    return record


def differences(record: Record) -> list[str]:
    """What this version would read otherwise than was recorded, and messages that have no record."""
    found = [f"{cls.__name__} ({number}) has no record" for number, cls in product_messages() if cls.__name__ not in record]
    for name, entry in record.items():
        for index, example in enumerate(entry["examples"]):
            try:
                messages = unpack(bytes.fromhex(example["frame"])).messages
            except WireError:
                messages = []
            if [type(message).__name__ for message in messages] != [name]:
                found.append(f"{name} example {index} is not decoded")
            elif not _has(plain(messages[0]), example["fields"]):
                found.append(f"{name} example {index} decodes to {plain(messages[0])}")
    return found


def _has(decoded: Any, recorded: Any) -> bool:
    """Equal, but for fields that were added since."""
    if isinstance(recorded, dict) and isinstance(decoded, dict):
        return all(name in decoded and _has(decoded[name], value) for name, value in recorded.items())
    if isinstance(recorded, list) and isinstance(decoded, list):
        return len(recorded) == len(decoded) and all(map(_has, decoded, recorded))
    return type(decoded) is type(recorded) and bool(decoded == recorded)


def main(arguments: list[str]) -> int:
    if arguments == ["--write"]:
        RECORD.parent.mkdir(exist_ok=True)
        RECORD.write_text(json.dumps(extended(load_record()), indent=1) + "\n")
        print(f"{len(load_record())} messages recorded in {RECORD}")
        return 0
    if arguments:
        print(f"unknown: {' '.join(arguments)}; there is only --write")
        return 2
    found = differences(load_record())
    print("\n".join(found) or "every recorded frame is decoded as it was recorded")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
