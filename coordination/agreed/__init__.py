"""Agreed state: leases and locks, kept by a majority of a group of voters. `docs/agreed.md` is the map.

`build_agreed` in `agreed.agreed` puts a node's parts together; `agreed.holder` runs alone in a thin client."""
