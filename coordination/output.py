"""How the commands print: lines that are seen at once, and JSON of what a store holds."""

from __future__ import annotations

import base64
import json
import sys
from typing import Any

import click

__all__ = ["as_json", "in_line", "say"]


def say(text: str) -> None:
    """One line, seen at once also through a pipe."""
    click.echo(text)
    sys.stdout.flush()


def in_line(name: str) -> str:
    """A key or name as a part of a line: what is no printing character is written as in a Python string, so that nobody's
    name looks like several lines, or clears a screen."""
    return name if name.isprintable() else "".join([each if each.isprintable() else repr(each)[1:-1] for each in name])


def as_json(value: Any) -> str:
    """JSON of what a store holds; bytes as {"$bytes": base64}."""
    return json.dumps(value, default=_plain, ensure_ascii=False, sort_keys=True)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    raise TypeError(f"{type(value).__name__} is no value of the mesh")
