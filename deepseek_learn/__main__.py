"""The entry point of `python -m deepseek_learn`."""

from .cli import main

main()
