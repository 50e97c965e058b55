"""Who votes: how a roster is founded, followed by the next one, and left."""
