"""How a file for the CPU is made and timed: layers are chosen on this machine, by time and by accuracy."""
