"""A registered criterion of `dpg.grouping`."""

ENTRY = "frequency"
