"""The machine: facts, hardware, drift while a run measures."""
