"""What a run is going to cost: before it, when it goes on, and without data."""
