"""What is counted and spent: counters, gauges, budgets, rate limits, atomic registers."""
