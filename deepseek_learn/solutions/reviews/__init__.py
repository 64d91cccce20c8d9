"""Understand Chinese reviews: files of reviews in, verdicts and the deciding words out.

`solutions.load("reviews").run(folder, out)` reads text files with one review per line, and
CSV files with a column of reviews.
Lesson: `notebooks/practical/12_understand_a_review.ipynb`.
"""
