"""What meshes are put through: workloads, the faults around them, and what must hold at the end."""
