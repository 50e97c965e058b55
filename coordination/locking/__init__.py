"""What is held and given back: leases, locks, elections, barriers, and who holds what."""
