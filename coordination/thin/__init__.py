"""Thin clients: programs that are no members, and reach the mesh through one stream to a node that sponsors them."""
