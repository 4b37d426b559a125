"""Checks on what a run logged, a function each, by what they look at."""
