"""Who is there and how news travels: wire, seal, membership, replication, the node, and its Trio shell."""
