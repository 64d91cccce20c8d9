from .deepopt import DeepOpt as DeepOpt
from .orthogonal import balance as balance
from .orthogonal import orthogonalise as orthogonalise
from .protocol import Tuned as Tuned
from .protocol import steps_to as steps_to
from .protocol import tune as tune
