"""Bytes that others wrote, changed at random, through everything that reads such."""
