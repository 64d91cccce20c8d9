"""A registered attention module."""

ENTRY = "self_attention"
