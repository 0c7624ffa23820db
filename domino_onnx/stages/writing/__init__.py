"""How files and reports come out: written, compared with the dense model, and put together as a result."""
