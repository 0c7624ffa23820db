"""How a run gets its model and its samples: read, drawn, looked at, and aimed at a target."""
