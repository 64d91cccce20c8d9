"""A registered attention module."""

ENTRY = "scse"
