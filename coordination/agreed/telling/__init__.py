"""What is told of registers and their holders to whoever asks."""
