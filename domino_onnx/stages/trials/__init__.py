"""What plans are worth: each is refitted, written for a while, and compared with the dense model."""
