__version__: str

from . import attention as attention
from . import course as course
from . import data as data
from . import deploy as deploy
from . import dpg as dpg
from . import lm as lm
from . import optim as optim
from . import profiler as profiler
from . import solutions as solutions
from . import training as training
from . import tuner as tuner
from . import zoo as zoo
from .attention import SpatialChannelAttention as SpatialChannelAttention
from .deploy import DeploymentWizard as DeploymentWizard
from .dpg import DynamicParameterGroup as DynamicParameterGroup
from .optim import DeepOpt as DeepOpt
from .profiler import ModelProfiler as ModelProfiler
from .tuner import AutoTuner as AutoTuner
