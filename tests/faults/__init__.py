"""Fault injection: the main job under kills, stops, full disks, torn files and rivals.

``python -m tests.faults COUNT [SEED]`` injects so many faults and prints how many were survived.
"""
