"""Figures against bounds: which gates hold, which fail, and which cannot be told."""
