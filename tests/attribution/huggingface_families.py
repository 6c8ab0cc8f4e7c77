"""Hugging Face models with tiny settings, and rows of tokens for them."""

import torch

VOCABULARY, WIDTH = 23, 8


def rows(kind: str, n: int, length: int, seed: int) -> list[dict]:
    """Rows of tokens, padded at the end, with labels for `kind`."""
    g = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(n):
        real = int(torch.randint(3, length + 1, (1,), generator=g))
        tokens = torch.randint(3, VOCABULARY, (length,), generator=g)
        mask = (torch.arange(length) < real).long()
        tokens = tokens * mask
        row = {"input_ids": tokens, "attention_mask": mask}
        if kind == "classification":
            row["labels"] = torch.randint(0, 3, (), generator=g)
        else:
            row["labels"] = tokens.masked_fill(mask == 0, -100)
        found.append(row)
    return found


def _none():
    return dict(vocab_size=VOCABULARY, num_labels=3, pad_token_id=0)


def bert():
    import transformers as T

    return T.BertForSequenceClassification(
        T.BertConfig(
            hidden_size=WIDTH, intermediate_size=12, num_hidden_layers=2, num_attention_heads=2,
            max_position_embeddings=16, **_none(),
        )
    )  # fmt: skip


def distilbert():
    import transformers as T

    return T.DistilBertForSequenceClassification(
        T.DistilBertConfig(
            dim=WIDTH, hidden_dim=12, n_layers=2, n_heads=2, max_position_embeddings=16, **_none()
        )
    )


def roberta():
    import transformers as T

    return T.RobertaForSequenceClassification(
        T.RobertaConfig(
            hidden_size=WIDTH, intermediate_size=12, num_hidden_layers=1, num_attention_heads=2,
            max_position_embeddings=20, **_none(),
        )
    )  # fmt: skip


def albert():
    import transformers as T

    return T.AlbertForSequenceClassification(
        T.AlbertConfig(
            embedding_size=4, hidden_size=WIDTH, intermediate_size=12, num_hidden_layers=3,
            num_attention_heads=2, max_position_embeddings=16, **_none(),
        )
    )  # fmt: skip


def gpt2():
    import transformers as T

    return T.GPT2LMHeadModel(
        T.GPT2Config(
            vocab_size=VOCABULARY, n_embd=WIDTH, n_layer=2, n_head=2, n_positions=16,
            use_cache=False, bos_token_id=1, eos_token_id=2,
        )
    )  # fmt: skip


def llama():
    import transformers as T

    return T.LlamaForCausalLM(
        T.LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=WIDTH, intermediate_size=12, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=16,
            use_cache=False, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        )
    )  # fmt: skip


def opt():
    import transformers as T

    return T.OPTForCausalLM(
        T.OPTConfig(
            vocab_size=VOCABULARY, hidden_size=WIDTH, ffn_dim=12, num_hidden_layers=1,
            num_attention_heads=2, max_position_embeddings=16, word_embed_proj_dim=WIDTH,
            pad_token_id=0, bos_token_id=1, eos_token_id=2, use_cache=False,
        )
    )  # fmt: skip


def mixtral():
    import transformers as T

    model = T.MixtralForCausalLM(
        T.MixtralConfig(
            vocab_size=VOCABULARY, hidden_size=WIDTH, intermediate_size=12, num_hidden_layers=1,
            num_attention_heads=2, num_key_value_heads=1, num_local_experts=3,
            num_experts_per_tok=2, max_position_embeddings=16, use_cache=False, pad_token_id=0,
            bos_token_id=1, eos_token_id=2,
        )
    )  # fmt: skip
    # the grouped product of all experts knows no float64
    model.set_experts_implementation("eager")
    return model


HUGGING_FACE = {
    "bert": ("classification", bert),
    "distilbert": ("classification", distilbert),
    "roberta": ("classification", roberta),
    "albert": ("classification", albert),
    "gpt2": ("language_modeling", gpt2),
    "llama": ("language_modeling", llama),
    "opt": ("language_modeling", opt),
    "mixtral": ("language_modeling", mixtral),
}
