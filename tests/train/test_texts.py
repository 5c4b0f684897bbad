"""Words: real sentences, unguessable strings, and two splits that share nothing."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest

from folioscope.train import fonts, texts

EVERYTHING = frozenset(fonts.ASCII + fonts.TYPOGRAPHIC + " ")


def words(share: float, seed: int = 0, count: int = 2000, alphabet: frozenset[str] = EVERYTHING) -> list[str]:
    stream = texts.word_stream(np.random.default_rng(seed), "train", share, alphabet)
    return list(itertools.islice(stream, count))


@pytest.fixture
def no_shared_texts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    caches = (texts._sentences, texts._words, texts.corpus)
    monkeypatch.setattr(texts, "data_folders", list)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


def test_splits_are_disjoint() -> None:
    train, held_out = texts.corpus("train"), texts.corpus("held_out")
    assert not set(train.sentences) & set(held_out.sentences)
    assert not set(train.words) & set(held_out.words)
    assert len(train.sentences) > 5 * len(held_out.sentences) > 500


@pytest.mark.usefixtures("no_shared_texts")
def test_python_alone_gives_enough_to_read() -> None:
    alone = texts.corpus("train")
    assert len(alone.sentences) > 2000
    assert len(alone.words) > 2000


def test_what_is_measured_does_not_depend_on_what_else_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> Iterator[str]:
        raise AssertionError("held-out sentences are Python's own")

    kept = texts.corpus("held_out").sentences
    monkeypatch.setattr(texts, "_other_texts", nobody)
    texts._sentences.cache_clear()
    texts.corpus.cache_clear()
    assert texts.corpus("held_out").sentences == kept


def test_sentences_are_clean() -> None:
    for sentence in texts.corpus("train").sentences:
        assert sentence.isascii()
        assert sentence.isprintable()
        assert "  " not in sentence
        assert "`" not in sentence
        assert sentence == sentence.strip()


def test_without_random_words_the_stream_is_sentences() -> None:
    spoken = " ".join(words(0.0)).translate(str.maketrans("‘’“”", "''\"\""))
    held = [sentence for sentence in texts.corpus("train").sentences if sentence in spoken]
    assert len(held) > 30


def test_the_random_share_is_the_share() -> None:
    vocabulary = {word for sentence in texts.corpus("train").sentences for word in sentence.split()}
    known = {share: np.mean([word in vocabulary for word in words(share)]) for share in (0.0, 0.5, 1.0)}
    assert known[0.0] > 0.9
    assert known[1.0] < 0.3
    assert known[0.0] > known[0.5] > known[1.0]


def test_words_are_written_with_the_alphabet() -> None:
    small = frozenset("abcdefghijklmnopqrstuvwxyz ")
    assert set("".join(words(0.5, count=200, alphabet=small))) <= small
    seen = set("".join(words(1.0, count=20000)))
    assert not any(character.isspace() for character in seen)
    assert seen >= set(fonts.ASCII)
    assert seen >= set("€£§°é’“”")


def test_streams_repeat() -> None:
    assert words(0.5, seed=7) == words(0.5, seed=7) != words(0.5, seed=8)
