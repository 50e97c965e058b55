"""Who acts for a register: its rounds, its queue, and what comes of them."""
