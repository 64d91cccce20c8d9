"""A registered criterion of `dpg.grouping`."""

ENTRY = "random"
