"""A registered attention module."""

ENTRY = "cbam"
