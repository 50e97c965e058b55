"""The command `mesh`: a group whose subcommands are found by entry point, so that no package need import upwards."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points, version

import click

__all__ = ["main"]

GROUP = "mesh.commands"


class Found(click.Group):
    """Subcommands by the entry-point group `mesh.commands`, loaded when they are asked for."""

    def _points(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=GROUP)}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self._points())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        point = self._points().get(cmd_name)
        if point is None:
            return None
        command = point.load()
        assert isinstance(command, click.Command)
        return command


@click.command(cls=Found, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(version("trio-mesh"), prog_name="mesh", message="%(prog)s %(version)s")
def main() -> None:
    """Coordinate processes with no server to run: keys, locks, leases and counters by gossip.

    \b
    Examples:
      mesh node --name a --bind 127.0.0.1:7946           one node, founding a mesh
      mesh kv put greeting hello --node 127.0.0.1:7946   a client of it
      mesh demo                                          three nodes at work, before your eyes
    """


if __name__ == "__main__":
    main()
