"""Authoring tools: exercise notebooks, translations, links, the book, assignments."""
