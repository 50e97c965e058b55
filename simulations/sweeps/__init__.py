"""Many runs: sweeps, shrinking, second runs, and the cases that are worth keeping."""
