from .deepopt import DeepOpt as DeepOpt
from .orthogonal import balance as balance
from .orthogonal import orthogonalize as orthogonalize
from .protocol import TuningResult as TuningResult
from .protocol import steps_to as steps_to
from .protocol import tune as tune
