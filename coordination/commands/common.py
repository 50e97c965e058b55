"""What the commands share: options, running, and the one line in which an error is told.

Exit codes: 0 done, 1 an error of the mesh or a missing key, 2 wrong usage; `mesh lock` has the command's own."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

__all__ = ["DEFAULT_NODE", "client_options", "fail", "read_secret", "run", "secret_option", "tag_filter"]

DEFAULT_NODE = "127.0.0.1:7946"

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


def client_options(function: F) -> F:
    """`--node`, `--secret-file`, `--json`: of every thin client."""
    function = click.option("--json", "json_output", is_flag=True, help="Print JSON, one object a line.")(function)
    function = secret_option(function)
    return click.option(
        "--node",
        "nodes",
        metavar="HOST:PORT",
        multiple=True,
        envvar="MESH_NODE",
        default=(DEFAULT_NODE,),
        show_default=True,
        show_envvar=True,
        help="The node to talk to; repeat it to name others to try.",
    )(function)


def secret_option(function: F) -> F:
    return click.option(
        "--secret-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="A file with the mesh's secret (see `mesh keygen`); or set MESH_SECRET.",
    )(function)


def read_secret(file: Path | None) -> str | None:
    """The secret: of the file, else of MESH_SECRET, else none."""
    import os

    if file is not None:
        try:
            return file.read_text().strip()
        except (OSError, UnicodeDecodeError) as problem:
            fail(f"the secret file {str(file)!r} cannot be read: {problem}")
    return os.environ.get("MESH_SECRET") or None


def tag_filter(tags: tuple[str, ...]) -> dict[str, str | None]:
    """What `--tag KEY=VALUE`, or `--tag KEY` for any value, asks for."""
    wanted: dict[str, str | None] = {}
    for tag in tags:
        key, mark, value = tag.partition("=")
        if not key:
            fail(f"--tag {tag!r} has no key: write KEY=VALUE, or KEY for any value", 2)
        wanted[key] = value if mark else None
    return wanted


def run(function: Callable[[], Awaitable[T]]) -> T:
    """Run under Trio; an error of the mesh ends the process with one line."""
    import trio

    from coordination.errors import MeshError

    try:
        return trio.run(function)
    except MeshError as error:
        fail(str(error))
    except BaseExceptionGroup as group:
        found = group.subgroup(MeshError)
        if found is None:
            raise
        fail(str(first_of(found)))
    except KeyboardInterrupt:
        fail("interrupted", 130)


def first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first plain exception in a tree of groups."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def fail(message: str, code: int = 1) -> NoReturn:
    click.echo(f"mesh: {message}", err=True)
    sys.exit(code)
