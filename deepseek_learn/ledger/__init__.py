"""The claims ledger: what the guide says, what was measured, and the verdict.

Benchmarks write results here and the course shows them; this package imports none of the
modules it judges.
"""

from .. import lazy

_LAZY = {"ledger": "claims", "write_result": "results"}

__all__ = [*_LAZY]

__getattr__, __dir__ = lazy.attach(__name__, _LAZY, ())
