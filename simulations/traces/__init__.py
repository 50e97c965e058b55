"""What happened in a run, to be read: causes, messages, columns."""
