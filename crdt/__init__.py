"""Values that merge: the hybrid logical clock, dots, cells, counters and the store. No input or output."""
