"""The deterministic world: whole nodes over a simulated network, in virtual time, under faults."""
