"""One voter: what it has promised, accepted and forgotten, and on which roster it votes."""
