"""A registered attention module."""

ENTRY = "coordinate"
