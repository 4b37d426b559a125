"""Readers of what runs write, one a kind of file; each knows its files by their content."""
