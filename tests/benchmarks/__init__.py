"""Figures for this machine: `make bench`. Each verifies its own result and stands beside a limit measured in the same run."""
