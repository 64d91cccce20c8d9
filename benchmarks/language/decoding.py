"""Decoding time of one token: a block of the public reference against ours."""

import time

CONTEXTS, LIMIT = (256, 1024, 4096), 5e-5
BLOCK = {
    "vocab_size": 512,
    "hidden_size": 1024,
    "intermediate_size": 1024,
    "num_hidden_layers": 1,
    "first_k_dense_replace": 1,
    "kv_lora_rank": 512,
    "q_lora_rank": 384,
    "qk_rope_head_dim": 64,
    "qk_nope_head_dim": 128,
    "v_head_dim": 128,
    "num_mtp_layers": 0,
    "max_position_embeddings": 8192,
    "attn_implementation": "sdpa",
}
TINY = BLOCK | {"hidden_size": 128, "intermediate_size": 128, "kv_lora_rank": 64}
TINY |= {"q_lora_rank": 48, "qk_rope_head_dim": 16}
TINY |= {"qk_nope_head_dim": 32, "v_head_dim": 32}


def ratios(reference, ours, clock, rounds: int) -> list[float]:
    """Their time over ours, one number per round; the first round warms up."""
    quotients = []
    for i in range(rounds + 1):
        times = []
        for call in (reference, ours):
            start = clock()
            call()
            times.append(clock() - start)
        if i:
            quotients.append(times[0] / times[1])
    return quotients


def paces(sizes: dict, heads: int, rounds: int, contexts=CONTEXTS):
    """Time ratios of a block with `heads` heads at each context length, and a note."""
    import torch
    from transformers import DeepseekV3Config, DeepseekV3ForCausalLM, DynamicCache

    from deepseek_learn.lm import Cache, Config, LanguageModel

    torch.set_num_threads(1)
    heads_of = dict.fromkeys(("num_attention_heads", "num_key_value_heads"), heads)
    config = DeepseekV3Config(**sizes, **heads_of)
    torch.manual_seed(0)
    reference = DeepseekV3ForCausalLM(config).eval()
    ours = LanguageModel(Config.from_reference(config.to_dict())).eval()
    ours.load_state_dict(reference.state_dict())
    for context in contexts:
        ids = torch.randint(512, (1, context + 1))
        past, cache = DynamicCache(config=config), Cache(ours, 1, context + 1)
        reference(ids[:, :context], cache=past, use_cache=True)
        ours(ids[:, :context], cache)
        place = torch.tensor([[context]])

        def next_of_theirs(ids=ids, past=past, place=place):
            last = ids[:, -1:]
            out = reference(last, cache=past, use_cache=True, position_ids=place)
            past.crop(-1)
            return out.logits

        def next_of_ours(ids=ids, cache=cache):
            out = ours(ids[:, -1:], cache)
            cache.lengths = cache.lengths - 1
            return out

        difference = (next_of_theirs() - next_of_ours()).abs().max().item()
        if difference > LIMIT:
            raise ValueError(f"the outputs differ by {difference}")
        values = ratios(next_of_theirs, next_of_ours, time.process_time, rounds)
        yield context, values, f"answers differ by {difference:.0e}"
