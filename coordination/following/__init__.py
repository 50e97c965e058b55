"""Who has still to be told what: one follower's unread changes, who follows which keys, and what changed last."""
