"""The search: British spellings find American ones, and Chinese words are found.

Sphinx stems each word of a page in Python, and each word of a query in the browser. Both
must agree, so the British forms that the glossary lists are replaced in both. Chinese has
no spaces: jieba cuts the pages into words, and `SPLITTER` cuts a query into the longest
words that the index knows.
"""

import json
import re
from functools import cache

from sphinx.search.en import SearchEnglish
from sphinx.search.zh import SearchChinese

from .settings import ROOT

ROW = re.compile(r"^\| ([a-z, ]+) \| ([a-z, ]+) \|$", re.MULTILINE)
STEMMER = """
const BRITISH = %s;
const AmericanStemmer = Stemmer;
Stemmer = function() {
  const stemmer = new AmericanStemmer();
  this.stemWord = word =>
    stemmer.stemWord(Object.hasOwn(BRITISH, word) ? BRITISH[word] : word);
};
"""
SPLITTER = r"""
function splitQuery(query) {
  const index = Search._index || {terms: {}, titleterms: {}};
  const known = word =>
    Object.hasOwn(index.terms, word) || Object.hasOwn(index.titleterms, word);
  const cut = run => {
    const words = [];
    for (let start = 0; start < run.length;) {
      let end = run.length;
      while (end > start + 1 && !known(run.slice(start, end))) end -= 1;
      if (end > start + 1) words.push(run.slice(start, end));
      start = end;
    }
    return words.length ? words : [run];
  };
  const runs = /\p{Script=Han}+|(?:(?!\p{Script=Han})[\p{Letter}\p{Number}_])+/gu;
  return (query.match(runs) || []).flatMap(
    run => (/^\p{Script=Han}/u.test(run) ? cut(run) : [run]));
}
"""


@cache
def british() -> dict[str, str]:
    """Return the American form of each British one in the glossary's last table.

    Raises:
        ValueError: if a row has unequal numbers of forms on its two sides.
    """
    forms: dict[str, str] = {}
    for row in ROW.findall((ROOT / "book" / "glossary.md").read_text("utf-8")):
        ours, theirs = (side.split(", ") for side in row)
        forms |= dict(zip(ours, theirs, strict=True))
    return forms


class English(SearchEnglish):
    """English that takes British spellings for American ones."""

    js_stemmer_code = SearchEnglish.js_stemmer_code + STEMMER % json.dumps(british())

    def stem(self, word: str) -> str:
        return super().stem(british().get(word.lower(), word))


class Words(set[str]):
    """The words that Sphinx keeps in a list, where it looks each word up again."""

    extend = set.update


class Chinese(SearchChinese):
    """Chinese, cut by jieba, with English words between."""

    latin_terms = Words()  # as a list, this took most of the time of the build
    js_splitter_code = SPLITTER
    js_stemmer_code = SearchChinese.js_stemmer_code + STEMMER % json.dumps(british())

    def stem(self, word: str) -> str:
        return super().stem(british().get(word.lower(), word))


def install_search(app) -> None:
    """Register both languages."""
    app.add_search_language(English)
    app.add_search_language(Chinese)
