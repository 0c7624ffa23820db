"""What a run has to tell, for people (terminal, HTML) and for programs (JSON)."""
