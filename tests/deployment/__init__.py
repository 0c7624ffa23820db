"""Models rewritten for the CPU, and the commands that do it."""
