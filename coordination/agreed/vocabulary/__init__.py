"""What every part of the agreed state speaks of: leases, ballots, rosters, groups, and the messages between parts."""
