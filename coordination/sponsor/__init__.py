"""What a node does for thin clients (see `coordination.gateway`), and the words between the two."""
