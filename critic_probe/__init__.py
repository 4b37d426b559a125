"""critic-probe: what a critic's score really reacts to."""

__version__ = "0.1.0"
