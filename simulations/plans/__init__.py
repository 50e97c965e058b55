"""Plans of faults: drawn from a seed, read from JSON, or by Hypothesis."""
