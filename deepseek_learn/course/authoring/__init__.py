"""Authoring tools for exercises, translations, links, the book and assignments."""
