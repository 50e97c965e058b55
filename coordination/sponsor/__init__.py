"""What a node does for thin clients (see `coordination.sponsor.gateway`), and the words between the two."""
