"""Answers to `see_through_disguises`: the starter, right ones and wrong ones."""

# %% starter
def undo(text, looks):
    ...

# %% solution
import unicodedata


def undo(text, looks):
    visible = "".join(c for c in text if unicodedata.category(c) != "Cf")
    words = []
    for word in visible.split(" "):
        if any("a" <= c.lower() <= "z" for c in word):
            word = "".join(looks.get(c, c) for c in word)
        words.append(word)
    return " ".join(words)

# %% right: regular expressions
import re
import unicodedata


def undo(text, looks):
    text = "".join(c for c in text if unicodedata.category(c) != "Cf")
    table = str.maketrans(looks)

    def change(match):
        word = match[0]
        return word.translate(table) if re.search("[A-Za-z]", word) else word

    return re.sub("[^ ]+", change, text)

# %% right: character by character
import string
import unicodedata


def undo(text, looks):
    result, word = "", ""
    for c in text + " ":
        if c == " ":
            latin = set(word) & set(string.ascii_letters)
            result += (word.translate(str.maketrans(looks)) if latin else word) + " "
            word = ""
        elif unicodedata.category(c) != "Cf":
            word += c
    return result[:-1]

# %% wrong: every word
import unicodedata


def undo(text, looks):
    visible = "".join(c for c in text if unicodedata.category(c) != "Cf")
    return "".join(looks.get(c, c) for c in visible)

# %% wrong: invisible characters stay
def undo(text, looks):
    words = []
    for word in text.split(" "):
        if any("a" <= c.lower() <= "z" for c in word):
            word = "".join(looks.get(c, c) for c in word)
        words.append(word)
    return " ".join(words)

# %% wrong: invisible characters become spaces
import unicodedata


def undo(text, looks):
    visible = "".join(" " if unicodedata.category(c) == "Cf" else c for c in text)
    words = []
    for word in visible.split(" "):
        if any("a" <= c.lower() <= "z" for c in word):
            word = "".join(looks.get(c, c) for c in word)
        words.append(word)
    return " ".join(words)

# %% wrong: if the text has a Latin letter
import unicodedata


def undo(text, looks):
    visible = "".join(c for c in text if unicodedata.category(c) != "Cf")
    if not any("a" <= c.lower() <= "z" for c in visible):
        return visible
    return "".join(looks.get(c, c) for c in visible)

# %% wrong: spaces are joined
import unicodedata


def undo(text, looks):
    visible = "".join(c for c in text if unicodedata.category(c) != "Cf")
    words = []
    for word in visible.split():
        if any("a" <= c.lower() <= "z" for c in word):
            word = "".join(looks.get(c, c) for c in word)
        words.append(word)
    return " ".join(words)

# %% wrong: only ASCII remains
def undo(text, looks):
    text = "".join(looks.get(c, c) for c in text)
    return text.encode("ascii", "ignore").decode()

# %% wrong: words are looked at before invisible characters go
import unicodedata


def undo(text, looks):
    words = []
    for word in text.split(" "):
        if word.isascii():
            words.append(word)
        elif any("a" <= c <= "z" for c in word):
            words.append("".join(looks.get(c, c) for c in word))
        else:
            words.append(word)
    return "".join(c for c in " ".join(words) if unicodedata.category(c) != "Cf")

# %% wrong: letters with accents count as Latin
import unicodedata


def undo(text, looks):
    visible = "".join(c for c in text if unicodedata.category(c) != "Cf")
    words = []
    for word in visible.split(" "):
        if any("LATIN" in unicodedata.name(c, "") for c in word):
            word = "".join(looks.get(c, c) for c in word)
        words.append(word)
    return " ".join(words)

# %% wrong: any white space separates words
import re
import unicodedata


def undo(text, looks):
    text = "".join(c for c in text if unicodedata.category(c) != "Cf")
    table = str.maketrans(looks)

    def change(match):
        word = match[0]
        return word.translate(table) if re.search("[A-Za-z]", word) else word

    return re.sub(r"\S+", change, text)

# %% wrong: the letter a left out
import unicodedata


def undo(text, looks):
    visible = "".join(c for c in text if unicodedata.category(c) != "Cf")
    words = []
    for word in visible.split(" "):
        if any("a" < c.lower() <= "z" for c in word):
            word = "".join(looks.get(c, c) for c in word)
        words.append(word)
    return " ".join(words)

# %% wrong: the letter z left out
import unicodedata


def undo(text, looks):
    visible = "".join(c for c in text if unicodedata.category(c) != "Cf")
    words = []
    for word in visible.split(" "):
        if any("a" <= c.lower() < "z" for c in word):
            word = "".join(looks.get(c, c) for c in word)
        words.append(word)
    return " ".join(words)
