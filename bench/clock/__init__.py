"""The clock: stages of a trial, and two sides that alternate."""
