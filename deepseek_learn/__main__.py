"""The entry point for `python -m deepseek_learn`."""

from .cli import main

main()
