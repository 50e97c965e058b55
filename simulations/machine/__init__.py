"""One simulated machine: its clocks, its disk, and the process that runs on it."""
