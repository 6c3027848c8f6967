"""A small model2vec model in a folder, with random vectors for some words."""

from pathlib import Path

import numpy as np
from model2vec import StaticModel
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

DIMENSION = 24
UNKNOWN = "[UNK]"
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
_WORDS = ("cat", "kitten", "bank", "money", "again", "between", "text", "number")


def save_static_model(folder: Path, *, seed: int = 7, weighted: bool = False, dtype: str = "float32") -> Path:
    """Save a model whose tokens are some words and single characters.

    In a ``weighted`` one, tokens have weights and share vectors.
    """
    tokens = ["[PAD]", UNKNOWN, *_WORDS, *(f"##{letter}" for letter in _LETTERS), *_LETTERS]
    vocabulary = {token: place for place, token in enumerate(tokens)}
    pieces = models.WordPiece(vocabulary, unk_token=UNKNOWN, max_input_chars_per_word=20_000)
    tokenizer = Tokenizer(pieces)
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    random = np.random.default_rng(seed)
    rows = 16 if weighted else len(tokens)
    vectors = random.normal(size=(rows, DIMENSION))
    model = StaticModel(
        (vectors * 30 if dtype == "int8" else vectors).astype(dtype),
        tokenizer,
        weights=random.uniform(0.5, 2, len(tokens)) if weighted else None,
        token_mapping=random.integers(0, rows, len(tokens)) if weighted else None,
    )
    model.save_pretrained(folder)
    return folder
