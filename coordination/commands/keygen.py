"""`mesh keygen`: a new secret."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

import click

from coordination.commands.common import fail
from coordination.output import say

__all__ = ["command"]

SECRET_BYTES = 32


@click.command("keygen")
@click.option("--out", type=click.Path(path_type=Path), help="Write it to this new file (mode 600) instead of printing it.")
@click.option("--json", "json_output", is_flag=True, help="Print JSON.")
def command(out: Path | None, json_output: bool) -> None:
    """Make a secret for a mesh: 256 random bits, as text.

    \b
    Example:
      mesh keygen --out mesh.secret
      mesh node --name a --bind 10.0.0.5:7946 --secret-file mesh.secret
    """
    secret = secrets.token_urlsafe(SECRET_BYTES)
    if out is None:
        say(json.dumps({"secret": secret}) if json_output else secret)
        return
    try:
        out.touch(mode=0o600, exist_ok=False)
        out.write_text(secret + "\n")
    except OSError as problem:
        fail(f"{str(out)!r} cannot be written: {problem.strerror}; choose another file")
    if json_output:
        say(json.dumps({"file": str(out)}))
