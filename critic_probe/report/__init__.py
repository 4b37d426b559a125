"""Renderers of results, one a medium: terminal, files, SVG. They compute nothing."""
