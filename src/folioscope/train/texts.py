"""Words for training pages: real sentences from the texts on any machine with Python, and strings nobody can guess."""

from __future__ import annotations

import re
import string
import sysconfig
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np

from folioscope.train.fonts import ASCII, Split, data_folders

_HELD_OUT_ONE_IN = 10
_LONGEST_WORD = 22
_DOCSTRING = re.compile(r'"""(.+?)"""', re.DOTALL)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'(])|\n\s*\n")
_MARKUP = re.compile(r"::|``?|\*\*?|:\w+:`|[~^|<>{}\\]|^[#.\-=\s]+", re.MULTILINE)
_SENTENCE = re.compile(r"[A-Z\"'(][^\n]{18,260}[.!?]")
_STRAY_BLANK = re.compile(r" (?=[.,;:!?)])|(?<=\() ")
_WORD = re.compile(r"[a-z]{3,16}")


@dataclass(frozen=True)
class Corpus:
    """Sentences in their own order of words, and single words; every string is printable ASCII."""

    sentences: tuple[str, ...]
    words: tuple[str, ...]


@lru_cache(maxsize=2)
def corpus(split: Split) -> Corpus:
    """The texts of one split, built once a process. Sentences and words of the two splits are disjoint.

    Held-out ones are Python's own and the word list's: what else is installed does not change what is measured.
    """
    wanted = split == "held_out"
    sentences = tuple(sentence for sentence in _sentences(everywhere=not wanted) if _is_held_out(sentence) == wanted)
    words = tuple(word for word in _words(everywhere=not wanted) if _is_held_out(word) == wanted)
    return Corpus(sentences, words)


def word_stream(rng: np.random.Generator, split: Split, random_share: float, alphabet: frozenset[str]) -> Iterator[str]:
    """Endless words, without blanks, written only with characters of `alphabet`.

    They follow real sentences, the first of which may be entered anywhere. Each word gives way with probability
    `random_share` (0..1) to a string no language model can guess.
    """
    source = corpus(split)
    inside = rng.random() < 0.5
    while True:
        sentence = _typographic(rng, source.sentences[rng.integers(len(source.sentences))])
        words = sentence.split()
        if inside:
            words, inside = words[rng.integers(len(words)) :], False
        replaced = rng.random(len(words)) < random_share
        for word, replace in zip(words, replaced, strict=True):
            candidate = unguessable(rng, source.words) if replace else word
            if alphabet.issuperset(candidate):
                yield candidate


def unguessable(rng: np.random.Generator, words: tuple[str, ...]) -> str:
    """A string without blanks: a rare word, a code, an amount, an address, a date, or letters at random."""
    make = _MAKERS[rng.integers(len(_MAKERS))]
    return make(rng, words)


def _is_held_out(text: str) -> bool:
    return zlib.crc32(text.encode()) % _HELD_OUT_ONE_IN == 0


@lru_cache(maxsize=2)
def _sentences(everywhere: bool) -> tuple[str, ...]:
    found = dict.fromkeys(_sentences(everywhere=False)) if everywhere else {}
    for text in _other_texts() if everywhere else _python_texts():
        for piece in _SENTENCE_END.split(_MARKUP.sub(" ", text)):
            sentence = _STRAY_BLANK.sub("", " ".join(piece.split()))
            if _is_prose(sentence):
                found.setdefault(sentence)
    return tuple(found)


def _is_prose(sentence: str) -> bool:
    if not _SENTENCE.fullmatch(sentence) or not sentence.isascii() or not sentence.isprintable():
        return False
    words = sentence.split()
    letters = sum(map(str.isalpha, sentence))
    return len(words) >= 4 and max(map(len, words)) <= _LONGEST_WORD and letters >= 0.74 * len(sentence)


def _python_texts() -> Iterator[str]:
    """Documentation of Python and docstrings of its library."""
    library = Path(sysconfig.get_path("stdlib"))
    for path in sorted([*library.glob("*.py"), *library.glob("*/*.py")]):
        if path.parent.name != "site-packages":
            yield from _DOCSTRING.findall(_read(path))
    yield from topics.values()
    yield _read(library / "LICENSE.txt")


def _other_texts() -> Iterator[str]:
    """Licences, read-mes and fortunes of what is installed."""
    installed = Path(sysconfig.get_path("purelib"))
    patterns = ("common-licenses/*", "games/fortunes/*")
    shared = [path for folder in data_folders() for pattern in patterns for path in sorted(folder.glob(pattern))]
    for path in [*sorted(installed.glob("*.dist-info/METADATA")), *shared]:
        yield _read(path)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="ignore") if path.is_file() else ""


@lru_cache(maxsize=2)
def _words(everywhere: bool) -> tuple[str, ...]:
    lists = sorted({path.resolve() for folder in data_folders() for path in folder.glob("dict/*") if path.is_file()})
    listed = {word for path in lists for word in _read(path).split() if _WORD.fullmatch(word)}
    spoken = {word for sentence in _sentences(everywhere) for word in _WORD.findall(sentence)}
    return tuple(sorted(listed | spoken))


def _typographic(rng: np.random.Generator, sentence: str) -> str:
    """Curly quotes and dashes, as typesetters write them, in half of the sentences."""
    if rng.random() < 0.5:
        return sentence
    sentence = re.sub(r"(^|[\s(])\"", r"\1“", sentence).replace('"', "”")
    sentence = re.sub(r"(^|[\s(])'", r"\1‘", sentence).replace("'", "’")
    return sentence.replace(" -- ", " — ").replace(" - ", " – ").replace("--", "—")


def _pick(rng: np.random.Generator, characters: str, count: int) -> str:
    return "".join([characters[i] for i in rng.integers(len(characters), size=count)])


def _number(rng: np.random.Generator, low: int, high: int) -> int:
    return int(rng.integers(low, high))


def _digits(rng: np.random.Generator, low: int, high: int) -> str:
    return _pick(rng, string.digits, _number(rng, low, high + 1))


def _plain_word(rng: np.random.Generator, words: tuple[str, ...]) -> str:
    return words[rng.integers(len(words))]


def _cased_word(rng: np.random.Generator, words: tuple[str, ...]) -> str:
    word = _plain_word(rng, words)
    return (word.capitalize(), word.upper(), word.capitalize() + "’s", word + ",", f"({word})", word + ".")[
        rng.integers(6)
    ]


def _letters(rng: np.random.Generator, words: tuple[str, ...]) -> str:
    cases = (string.ascii_lowercase, string.ascii_uppercase, string.ascii_letters)
    return _pick(rng, cases[rng.integers(3)], _number(rng, 1, 9))


def _code(rng: np.random.Generator, words: tuple[str, ...]) -> str:
    prefix = _pick(rng, string.ascii_uppercase, _number(rng, 1, 4))
    joint = ("-", "", "/", "_", "#")[rng.integers(5)]
    return prefix + joint + _digits(rng, 2, 7)


def _mixed(rng: np.random.Generator, words: tuple[str, ...]) -> str:
    return _pick(rng, string.ascii_letters + string.digits, _number(rng, 4, 11))


def _amount(rng: np.random.Generator, words: tuple[str, ...]) -> str:
    value = _number(rng, 0, 10 ** _number(rng, 2, 7)) / 100
    return ("$", "€", "£", "", "-", "+")[rng.integers(6)] + f"{value:,.2f}"


def _count(rng: np.random.Generator, words: tuple[str, ...]) -> str:
    number = _digits(rng, 1, 6)
    return number + ("", "", "%", "°", ",", ".", ";", "kg", "mm", "th")[rng.integers(10)]


def _date(rng: np.random.Generator, words: tuple[str, ...]) -> str:
    year, month, day = _number(rng, 1890, 2040), _number(rng, 1, 13), _number(rng, 1, 29)
    forms = (f"{year}-{month:02}-{day:02}", f"{day}/{month}/{year}", f"{day:02}.{month:02}.{year % 100:02}", f"{year}")
    return forms[rng.integers(len(forms))]


def _clock(rng: np.random.Generator, words: tuple[str, ...]) -> str:
    return f"{_number(rng, 0, 24):02}:{_number(rng, 0, 60):02}"


def _address(rng: np.random.Generator, words: tuple[str, ...]) -> str:
    domain = _plain_word(rng, words)[:8] + (".com", ".org", ".net", ".io", ".co.uk", ".de")[rng.integers(6)]
    if rng.random() < 0.3:
        return "www." + domain
    return _plain_word(rng, words)[:7] + (".", "_", "")[rng.integers(3)] + _digits(rng, 0, 2) + "@" + domain


def _phone(rng: np.random.Generator, words: tuple[str, ...]) -> str:
    return f"+{_digits(rng, 1, 2)}-{_digits(rng, 3, 3)}-{_digits(rng, 4, 4)}"


def _version(rng: np.random.Generator, words: tuple[str, ...]) -> str:
    return ".".join(str(_number(rng, 0, 30)) for _ in range(_number(rng, 2, 5)))


def _accented(rng: np.random.Generator, words: tuple[str, ...]) -> str:
    word = list(_plain_word(rng, words))
    word[_number(rng, 0, len(word))] = "éèüöñçáê"[rng.integers(8)]
    return "".join(word)


def _marked(rng: np.random.Generator, words: tuple[str, ...]) -> str:
    word = _plain_word(rng, words)
    forms = ("“{}”", '"{}"', "[{}]", "{{{}}}", "<{}>", "{}/", "{}:", "{};", "{}!", "{}?", "*{}", "§{}", "{}…", "_{}_")
    return forms[rng.integers(len(forms))].format(word)


def _anything(rng: np.random.Generator, words: tuple[str, ...]) -> str:
    return _pick(rng, ASCII, _number(rng, 2, 7))


_MAKERS: tuple[Callable[[np.random.Generator, tuple[str, ...]], str], ...] = (
    *(_plain_word,) * 6,
    *(_cased_word,) * 4,
    *(_letters,) * 3,
    *(_code,) * 2,
    *(_mixed,) * 2,
    *(_amount,) * 2,
    *(_count,) * 2,
    *(_date, _clock, _address, _phone, _version, _accented, _marked, _anything),
)
