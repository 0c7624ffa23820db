"""Bytes that others wrote, changed at random, through all that reads them."""
