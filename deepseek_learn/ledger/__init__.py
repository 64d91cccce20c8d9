"""The claims ledger: what the guide says, what was measured, and the verdict.

Benchmarks write results here, the course shows them; it imports none of what it judges.
"""

from .. import lazy

_LAZY = {"ledger": "claims", "write_result": "results"}

__all__ = [*_LAZY]

__getattr__, __dir__ = lazy.attach(__name__, _LAZY, ())
