"""A registered attention module."""

ENTRY = "eca"
