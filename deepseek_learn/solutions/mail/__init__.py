"""Keep the mail clean: a mailbox in, verdicts and reasons out.

`solutions.load("mail").run(box, out)` reads .mbox and .eml files and Maildir folders.
Lesson: `notebooks/practical/13_keep_the_mail_clean.ipynb`.
"""
