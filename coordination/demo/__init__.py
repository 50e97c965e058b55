"""The demonstration: real processes, and steps that check what they claim. Run by `mesh demo`."""
