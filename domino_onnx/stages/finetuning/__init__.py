"""How weights are finetuned, alone or with other processes, and whether what comes out is kept."""
