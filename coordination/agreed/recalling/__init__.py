"""How a voter comes back: what it remembers, and what the others tell it."""
