"""Training a network or a head step by step: recipes, masked optimizer, loop, its process."""
