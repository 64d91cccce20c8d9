"""Deploy a trained model to a target as a verified, self-contained folder.

Lesson: `notebooks/practical/02_deploy.ipynb`.
"""

from .. import lazy

_LAZY = {
    "AccuracyError": "accuracy",
    "BuildError": "native",
    "Deployment": "result",
    "DeploymentWizard": "wizard",
    "EngineError": "native",
    "ExportError": "export",
    "GuardedModel": "accuracy",
    "OutputMismatchError": "comparison",
    "Quantizer": "quantize",
    "Scheme": "quantize",
    "guard": "accuracy",
    "target": "destinations",
    "targets": "destinations",
    "to_onnx": "export",
    "verify": "comparison",
}

__all__ = [*_LAZY]

__getattr__, __dir__ = lazy.attach(__name__, _LAZY, ())
