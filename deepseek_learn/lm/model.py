"""The full language model: blocks of attention and experts on a residual stream."""

import torch
from torch import Tensor, nn

from .cache import Cache, Step
from .config import Config
from .experts import MLP, MixtureOfExperts, Router
from .hybrid import attentions  # hybrid registers V4's kinds
from .latent import Learner, RMSNorm, linear
from .rotary import angles


class Block(nn.Module):
    """Attention, then experts or a dense MLP, each added to the residual stream."""

    def __init__(self, config: Config, layer: int):
        super().__init__()
        self.self_attn = attentions[config.attention(layer)](config, layer)
        routed = layer >= config.first_k_dense_replace
        width = config.intermediate_size
        self.mlp = MixtureOfExperts(config) if routed else MLP(config, width)
        size, eps = config.hidden_size, config.rms_norm_eps
        self.input_layernorm = RMSNorm(size, eps=eps)
        self.post_attention_layernorm = RMSNorm(size, eps=eps)

    def forward(self, x: Tensor, step: Step) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), step)
        return x + self.mlp(self.post_attention_layernorm(x))


class MultiTokenPrediction(Block):
    r"""A block that predicts one token further ahead.

    DeepSeek-AI 2024, "DeepSeek-V3", arXiv 2412.19437, §2.2:

    .. math:: h'_i = \mathrm{norm}(\mathrm{block}(M\,[\mathrm{norm}(e(t_{i+k}));
              \mathrm{norm}(h_i)]))

    A hidden state that predicts :math:`t_{i+k}`, combined with that token, gives a
    state that predicts :math:`t_{i+k+1}`. In training, this adds a second objective on
    the same text; in generation, it drafts a token that the model then verifies.
    """

    def __init__(self, config: Config, layer: int):
        super().__init__(config, layer)
        size, eps = config.hidden_size, config.rms_norm_eps
        self.enorm, self.hnorm = RMSNorm(size, eps=eps), RMSNorm(size, eps=eps)
        self.eh_proj = linear(2 * size, size)
        self.shared_head = nn.ModuleDict({"norm": RMSNorm(size, eps=eps)})

    def forward(  # type: ignore[override]  # `ahead` calls it, never as a `Block`
        self, hidden: Tensor, embedded: Tensor, step: Step
    ) -> Tensor:
        """Combine hidden states with the next tokens' embeddings, both `[B, T, d]`.

        The result has the same shape.
        """
        x = self.eh_proj(torch.cat([self.enorm(embedded), self.hnorm(hidden)], -1))
        return self.shared_head["norm"](super().forward(x, step))


class _Body(nn.Module):
    """The embedding, layers and final norm, grouped under the reference's name."""

    def __init__(self, config: Config):
        super().__init__()
        layers = config.num_hidden_layers
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Block(config, i) for i in range(layers))
        for ahead in range(config.num_nextn_predict_layers):
            self.layers.append(MultiTokenPrediction(config, layers + ahead))
        self.norm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)


class LanguageModel(nn.Module):
    """A model that maps tokens `[B, T]` to next-token logits `[B, T, vocab_size]`.

    Its parameters have the same names as in the public reference's `DeepseekV2`, `V3`
    and `V32ForCausalLM`, whose checkpoints `lm.load` reads.

    Raises:
        ValueError: if the tokens have the wrong shape or dtype, or are too many.
    """

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.model = _Body(config)
        self.lm_head = linear(config.hidden_size, config.vocab_size)
        self.tie()
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2 and not name.endswith("position_bias"):
                nn.init.normal_(parameter, std=0.02)

    def tie(self) -> None:
        """Share the embedding's weight with the head if the configuration says so."""
        if self.config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    def forward(
        self, ids: Tensor, cache: Cache | None = None, lengths: Tensor | None = None
    ) -> Tensor:
        """Map tokens `[B, T]` int64 to logits `[B, T, vocab_size]`.

        Args:
            cache: if given, `ids` continue the sequences in it.
            lengths: `[B]`, number of real tokens in each row; the rest is padding at
                the end, whose logits are meaningless.
        """
        return self.lm_head(self.hidden(self.step(ids, cache, lengths)))

    def hidden(self, step: Step) -> Tensor:
        """Return the head's input, `[B, T, hidden_size]`."""
        x = self.model.embed_tokens(step.ids)
        for block in self.model.layers[: self.config.num_hidden_layers]:
            x = block(x, step)
        return self.model.norm(x)

    def ahead(
        self, hidden: Tensor, following: Tensor, depth: int, step: Step
    ) -> Tensor:
        """Turn hidden states that predict `following` into ones for the token after it.

        Args:
            hidden: `[B, T, hidden_size]`, the model's hidden states at depth 0, the
                output of the previous block otherwise.
            following: `[B, T]`, the tokens that `hidden` predicts.
            depth: index of the `MultiTokenPrediction` block, from 0.
        """
        block = self.model.layers[self.config.num_hidden_layers + depth]
        return block(hidden, self.model.embed_tokens(following), step)

    def step(
        self, ids: Tensor, cache: Cache | None = None, lengths: Tensor | None = None
    ) -> Step:
        """Compute positions and rotary angles for the tokens, and advance the cache."""
        if ids.dtype != torch.int64 or ids.dim() != 2 or not ids.numel():
            got = f"{ids.dtype} {list(ids.shape)}"
            raise ValueError(f"ids must be int64 [B, T] with T at least 1; got {got}.")
        new, c = ids.shape[1], self.config
        positions = torch.arange(new, device=ids.device).expand(len(ids), -1)
        past = 0
        if cache is not None:
            if cache.model is not self:
                raise ValueError(
                    "cache must belong to this model; got another model's."
                )
            if len(cache.lengths) != len(ids):
                raise ValueError(
                    f"ids must have the cache's {len(cache.lengths)} rows; got {len(ids)}."
                )
            past = int(cache.lengths.max())
            positions = positions + cache.lengths[:, None]
        limit = c.max_position_embeddings if cache is None else cache.capacity
        if past + new > limit:
            raise ValueError(
                f"ids must keep a sequence within {limit} tokens; got {past} read before "
                f"and {new} new."
            )
        dim, kinds = c.qk_rope_head_dim, ("main", "compress")
        rotary = {kind: angles(positions, dim, c.rope(kind)) for kind in kinds}
        counts = torch.full_like(positions[:, 0], new) if lengths is None else lengths
        if counts.shape != (len(ids),) or ((counts < 0) | (counts > new)).any():
            raise ValueError(
                f"lengths must be [B], from 0 to {new}; got {counts.tolist()}."
            )
        real = torch.arange(new, device=ids.device) < counts[:, None]
        if cache is not None:
            cache.end = past + new
            cache.advance(counts)
        return Step(ids, positions, real, rotary, cache)

    def index_loss(self) -> Tensor | float:
        """Return the indexers' loss of the last pass, to be added to the model's loss.

        A second call returns 0.
        """
        learners = [m for m in self.modules() if isinstance(m, Learner)]
        total = sum(learner.loss for learner in learners)
        for learner in learners:
            learner.loss = 0.0  # else it keeps the pass's graph alive
        return total

    def routers(self) -> list[Router]:
        """Return the routers of all mixtures, in layer order."""
        return [module for module in self.modules() if isinstance(module, Router)]

    def balance(self, rate: float = 1e-3) -> None:
        """Call every router's `balance`; do this after each training step."""
        for router in self.routers():
            router.balance(rate)
