"""A registered attention module."""

ENTRY = "sc"
