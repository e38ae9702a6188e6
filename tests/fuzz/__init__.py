"""Fuzzing of every reader: targets, the corpus of what broke, and coverage-guided runs."""
