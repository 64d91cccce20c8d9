"""The claims ledger, which compares the claims of the guide with measurements.

Benchmarks write their results here, and the course displays them. This package does not
import any of the modules that the benchmarks measure.
"""

from .. import lazy

_LAZY = {"ledger": "claims", "write_result": "results"}

__all__ = [*_LAZY]

__getattr__, __dir__ = lazy.attach(__name__, _LAZY, ())
