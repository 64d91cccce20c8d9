from .claims import ledger as ledger
from .results import write_result as write_result
