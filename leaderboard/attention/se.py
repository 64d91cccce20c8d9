"""A registered attention module."""

ENTRY = "se"
