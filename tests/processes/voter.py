"""A `mesh node` with the arguments of `open_peer`, which the command has not all: `python -m tests.processes.voter JSON`."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import trio

from coordination import MeshConfig
from coordination.commands.node import serve

__all__ = ["main"]


def main(config: dict[str, Any], **arguments: Any) -> None:
    trio.run(serve, {**arguments, "config": MeshConfig(**config), "secret": os.environ["MESH_SECRET"]}, True)


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
