"""The full language model: blocks of attention and experts on a residual stream."""

import torch
from torch import Tensor, nn

from .cache import Cache, Step
from .config import Config
from .experts import MLP, MixtureOfExperts, Router
from .grouped import GroupedQueryAttention  # noqa: F401  # registers it, too
from .hybrid import attentions  # importing hybrid registers V4's attention
from .latent import RMSNorm, linear
from .rotary import angles
from .sparse import Indexer


class DecoderLayer(nn.Module):
    """A block that applies attention and then either experts or a dense MLP.

    Both outputs are added to the residual stream.
    """

    def __init__(self, config: Config, layer: int):
        super().__init__()
        self.self_attn = attentions[config.attention(layer)](config, layer)
        routed, width = config.routed(layer), config.intermediate_size
        self.mlp = MixtureOfExperts(config) if routed else MLP(config, width)
        size, eps = config.hidden_size, config.rms_norm_eps
        self.input_layernorm = RMSNorm(size, eps=eps)
        self.post_attention_layernorm = RMSNorm(size, eps=eps)

    def forward(self, x: Tensor, step: Step) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), step)
        return x + self.mlp(self.post_attention_layernorm(x))


class SandwichLayer(DecoderLayer):
    """A block that normalizes the outputs of attention and MLP as well as their inputs.

    Gemma Team 2024, "Gemma 2", arXiv 2408.00118, §2; also used by Gemma 3.

    >>> from deepseek_learn import lm
    >>> model = lm.LanguageModel(lm.Config(sandwich_norm=True))
    >>> isinstance(model.model.layers[0], lm.SandwichLayer)
    True
    """

    def __init__(self, config: Config, layer: int):
        super().__init__(config, layer)
        size, eps = config.hidden_size, config.rms_norm_eps
        self.pre_feedforward_layernorm = RMSNorm(size, eps=eps)
        self.post_feedforward_layernorm = RMSNorm(size, eps=eps)

    def forward(self, x: Tensor, step: Step) -> Tensor:
        attended = self.self_attn(self.input_layernorm(x), step)
        x = x + self.post_attention_layernorm(attended)
        fed = self.mlp(self.pre_feedforward_layernorm(x))
        return x + self.post_feedforward_layernorm(fed)


class MultiTokenPrediction(DecoderLayer):
    r"""A block that predicts one token further ahead.

    DeepSeek-AI 2024, "DeepSeek-V3", arXiv 2412.19437, §2.2:

    .. math:: h'_i = \mathrm{norm}(\mathrm{block}(M\,[\mathrm{norm}(e(t_{i+k}));
                  \mathrm{norm}(h_i)]))

    The block combines a hidden state that predicts :math:`t_{i+k}` with that token and
    computes a hidden state that predicts :math:`t_{i+k+1}`. During training, this adds
    a second objective on the same text. During generation, it drafts a token that the
    model then verifies.

    >>> import torch
    >>> from deepseek_learn import lm
    >>> model = lm.LanguageModel(lm.Config(num_nextn_predict_layers=1))
    >>> sum(isinstance(each, lm.MultiTokenPrediction) for each in model.modules())
    1
    """

    def __init__(self, config: Config, layer: int):
        super().__init__(config, layer)
        size, eps = config.hidden_size, config.rms_norm_eps
        self.enorm, self.hnorm = RMSNorm(size, eps=eps), RMSNorm(size, eps=eps)
        self.eh_proj = linear(2 * size, size)
        self.shared_head = nn.ModuleDict({"norm": RMSNorm(size, eps=eps)})

    def forward(  # type: ignore[override]  # only called by `ahead`, not as a `DecoderLayer`
        self, hidden: Tensor, embedded: Tensor, step: Step
    ) -> Tensor:
        """Combine hidden states with the embeddings of the next tokens.

        Both arguments and the result have the shape `[B, T, d]`.
        """
        # [B, T, 2 d] → [B, T, d]; the checkpoint's matrix expects the embedding first
        x = self.eh_proj(torch.cat([self.enorm(embedded), self.hnorm(hidden)], -1))
        return self.shared_head["norm"](super().forward(x, step))


class _Body(nn.Module):
    """The embedding, the layers and the final norm, grouped as in the reference."""

    def __init__(self, config: Config):
        super().__init__()
        layers = config.num_hidden_layers
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        kind = SandwichLayer if config.sandwich_norm else DecoderLayer
        self.layers = nn.ModuleList(kind(config, i) for i in range(layers))
        for ahead in range(config.num_nextn_predict_layers):
            self.layers.append(MultiTokenPrediction(config, layers + ahead))
        self.norm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)


class LanguageModel(nn.Module):
    """A language model that predicts the next token at every position.

    It maps tokens of shape `[B, T]` to logits of shape `[B, T, vocab_size]`.

    Its parameters have the same names as in `DeepseekV2ForCausalLM`,
    `DeepseekV3ForCausalLM` and `DeepseekV32ForCausalLM` of the public reference. Their
    checkpoints can be loaded with `lm.load`, and so can those of Llama, Qwen, Mistral
    and Gemma (see `families.py`).

    Raises:
        ValueError: if the tokens have the wrong shape or dtype, or if a sequence is too
            long.

    >>> import torch
    >>> from deepseek_learn import lm
    >>> model = lm.LanguageModel(lm.Config(num_hidden_layers=2))
    >>> model(torch.randint(256, (2, 16))).shape  # B, T, vocabulary
    torch.Size([2, 16, 256])
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

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.model.norm.weight.device  # reading a packed head unpacks it

    def tie(self) -> None:
        """Share the embedding's weight with the head if the configuration says to."""
        if self.config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    def forward(
        self, ids: Tensor, cache: Cache | None = None, lengths: Tensor | None = None
    ) -> Tensor:
        """Compute the logits for the token that follows each position.

        Args:
            ids: the tokens, an int64 tensor of shape `[B, T]`.
            cache: a cache whose sequences the tokens continue; None to start new ones.
            lengths: the number of real tokens in each row, of shape `[B]`. The rest of
                the row is padding, whose logits are meaningless.

        Returns:
            A tensor of shape `[B, T, vocab_size]`.
        """
        return self.logits(self.hidden(self.step(ids, cache, lengths)))

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits of hidden states, which have the shape `[..., hidden_size]`.

        The result has the shape `[..., vocab_size]`.
        """
        logits, cap = self.lm_head(hidden), self.config.final_logit_softcapping
        return logits if cap is None else cap * (logits / cap).tanh()

    def hidden(self, step: Step) -> Tensor:
        """Return the input to the head, a tensor of shape `[B, T, hidden_size]`."""
        x = self.model.embed_tokens(step.ids)
        if self.config.embedding_scale != 1:
            x = x * self.config.embedding_scale
        # the layers after these predict further ahead; see `ahead`
        for block in self.model.layers[: self.config.num_hidden_layers]:
            x = block(x, step)
        return self.model.norm(x)

    def ahead(
        self, hidden: Tensor, following: Tensor, depth: int, step: Step
    ) -> Tensor:
        """Compute the hidden states that predict one token further ahead.

        Args:
            hidden: hidden states of shape `[B, T, hidden_size]`. At depth 0, these are
                the model's hidden states; otherwise, they are the output of the
                previous block.
            following: the tokens that `hidden` predicts, of shape `[B, T]`.
            depth: the index of the `MultiTokenPrediction` block, starting at 0.
        """
        block = self.model.layers[self.config.num_hidden_layers + depth]
        return block(hidden, self.model.embed_tokens(following), step)

    def step(
        self, ids: Tensor, cache: Cache | None = None, lengths: Tensor | None = None
    ) -> Step:
        """Compute the tokens' positions and rotary angles, and advance the cache."""
        if ids.dtype != torch.int64 or ids.dim() != 2 or not ids.numel():
            got = f"{ids.dtype} {list(ids.shape)}"
            raise ValueError(
                f"ids must be int64 with shape [B, T] and T at least 1; got {got}."
            )
        new, c = ids.shape[1], self.config
        positions = torch.arange(new, device=ids.device).expand(len(ids), -1)
        past = 0
        if cache is not None:
            if cache.model is not self:
                raise ValueError(
                    "cache must belong to this model; got the cache of another model."
                )
            if len(cache.lengths) != len(ids):
                raise ValueError(
                    f"ids must have {len(cache.lengths)} rows, as many as the cache; "
                    f"got {len(ids)}."
                )
            past = int(cache.lengths.max())  # rows may have different lengths
            positions = positions + cache.lengths[:, None]
        limit = c.max_position_embeddings if cache is None else cache.capacity
        if past + new > limit:
            raise ValueError(
                f"ids must not extend a sequence beyond {limit} tokens; got {new} new "
                f"tokens after {past} cached ones."
            )
        rotary = self._rotary(positions)
        counts = torch.full_like(positions[:, 0], new) if lengths is None else lengths
        if counts.shape != (len(ids),) or ((counts < 0) | (counts > new)).any():
            raise ValueError(
                f"lengths must have shape [B] and values from 0 to {new}; got "
                f"{counts.tolist()}."
            )
        real = torch.arange(new, device=ids.device) < counts[:, None]  # [B, T]
        if cache is not None:
            cache.end = past + new  # of the longest row, padding included
            cache.advance(counts)  # by the real tokens of each row
        return Step(ids, positions, real, rotary, cache)

    def _rotary(self, positions: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """Return the cosines and sines of each kind; equal parameters share theirs."""
        dim, made = self.config.qk_rope_head_dim, {}
        rotary = {}
        for kind in ("main", "compress", "sliding"):
            parameters = self.config.rope(kind)
            if id(parameters) not in made:
                made[id(parameters)] = angles(positions, dim, parameters)
            rotary[kind] = made[id(parameters)]
        return rotary

    def index_loss(self) -> Tensor | float:
        """Return the total loss of the indexers from the last forward pass.

        Add it to the model's loss. Calling this method again returns 0.
        """
        indexers = [m for m in self.modules() if isinstance(m, Indexer)]
        total = sum(indexer.loss for indexer in indexers)
        for indexer in indexers:
            indexer.loss = 0.0  # otherwise, the graph of this pass stays in memory
        return total

    def routers(self) -> list[Router]:
        """Return the routers of all mixture-of-experts layers, in layer order."""
        return [module for module in self.modules() if isinstance(module, Router)]

    def balance(self, rate: float = 1e-3) -> None:
        """Call `balance` on every router; do this after each training step."""
        for router in self.routers():
            router.balance(rate)
