"""Figures of a run; matplotlib is imported when one is drawn."""
