"""A certificate that anyone can earn again: its portfolio is run, not believed.

- `start(folder, name, tasks)` writes the skeleton of a portfolio;
- `make(folder)` runs it and writes the certificate, signed with the learner's key;
- `verify(folder)` computes all that the certificate says, and runs the portfolio anew;
- `sign(folder, key, teacher)` issues it under a teacher's key.

`book/certificate.md` says what it proves, and what can still be forged.
"""

from .credential import Certificate
from .keys import create as create_key
from .making import make, sign, start
from .refusal import Refused
from .verifying import check_without_running, verify

__all__ = [
    "Certificate",
    "Refused",
    "check_without_running",
    "create_key",
    "make",
    "sign",
    "start",
    "verify",
]
