"""How a peer comes up: its arguments, its driver, its state directory, and the opening itself."""
