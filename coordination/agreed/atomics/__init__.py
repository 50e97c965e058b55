"""What an atomic register does with a call, and who asks for one."""
