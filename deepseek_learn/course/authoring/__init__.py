"""What an author touches: exercise notebooks, translations, links, the book, a class."""
