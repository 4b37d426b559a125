"""From prompt groups to values."""
