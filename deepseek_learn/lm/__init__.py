"""A readable and exact implementation of the DeepSeek language model.

Submodules are imported lazily, the first time one of their names is accessed.

Lesson: `notebooks/practical/09_train_a_small_deepseek.ipynb`.
"""

from .. import lazy

_LAZY = {
    "Cache": "cache",
    "Config": "config",
    "Conversation": "conversation",
    "Decoding": "decoding",
    "GroupedQueryAttention": "grouped",
    "HybridAttention": "hybrid",
    "LanguageModel": "model",
    "attentions": "hybrid",
    "LatentAttention": "latent",
    "MixtureOfExperts": "experts",
    "MultiTokenPrediction": "model",
    "SandwichLayer": "model",
    "SparseAttention": "sparse",
    "generate": "generation",
    "load": "checkpoint",
    "separate": "experts",
    "stream": "generation",
    "Decoder": "decoder",
    "tokenizer": "vocabulary",
}
_MODULES = ("decoder",)

__all__ = [*_LAZY, *_MODULES]

__getattr__, __dir__ = lazy.attach(__name__, _LAZY, _MODULES)
