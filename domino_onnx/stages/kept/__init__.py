"""How a checkpoint keeps what each stage returns, and whether what it holds can have been found for this run."""
