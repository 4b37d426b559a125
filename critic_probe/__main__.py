"""`python -m critic_probe`: the command line."""

from critic_probe.cli import main

main()
