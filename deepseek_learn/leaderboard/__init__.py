"""The leaderboard: tracks in which anyone's entry is compared with a reference.

An entry runs in a sandbox and is scored outside of it, on seeds that are drawn when it
runs. `deepseek-learn submit` checks a file and races it; the entries and their records
are in the folder `leaderboard/` of the repository.
"""

from .. import lazy

_LAZY = {
    "Entry": "entry",
    "EntryError": "source",
    "Record": "records",
    "BoardRow": "board",
    "check": "racing",
    "load_track": "track",
    "pending": "racing",
    "run_again": "racing",
    "run_field": "racing",
    "sign_test": "records",
    "standings": "board",
    "to_markdown": "board",
}

__all__ = [*_LAZY]

__getattr__, __dir__ = lazy.attach(__name__, _LAZY, ())
