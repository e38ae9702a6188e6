"""Reference results of named machines, CI baselines, the record schemas and the paper's numbers."""
