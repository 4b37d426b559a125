"""`python -m critic_probe`: the same as the `critic-probe` command."""

from critic_probe.cli import main

main()
