"""LaTeX of formulas made alike, so that those that look the same are mostly written the same."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_TOKEN = re.compile(r"\\operatorname\*|\\[a-zA-Z]+|\\.|\S", re.DOTALL)
_PRIMES = re.compile("'+")
_COMMAND = re.compile(r"\\[a-zA-Z]+")


def _commands(names: str) -> list[str]:
    return [f"\\{name}" for name in names.split()]


_DROPPED = {
    *(r"\,", r"\;", r"\:", r"\!", r"\>", "\\ ", "~", "&"),
    *_commands("quad qquad thinspace medspace thickspace left right middle limits nolimits rm bf it cal"),
    *_commands("displaystyle textstyle scriptstyle scriptscriptstyle"),
    *(rf"\{size}{side}" for size in ("big", "Big", "bigg", "Bigg") for side in ("", "l", "r", "m")),
}
"""Spaces, sizes, and fonts that have no argument."""

_FONTS = {
    *_commands("mathrm mathbf mathit mathsf mathtt mathcal mathbb mathfrak mathscr mathnormal boldsymbol bm pmb"),
    *_commands("text textrm textbf textit textnormal textsf texttt mbox operatorname operatorname*"),
}

_ARGUMENTS: Mapping[str, int] = {
    **dict.fromkeys(_commands("frac binom overset underset stackrel"), 2),
    **dict.fromkeys(_commands("hat bar vec dot ddot tilde widehat widetilde overline underline sqrt"), 1),
}
"""Commands, and how many arguments they take, with or without braces."""

_OPERATORS = (
    "arccos arcsin arctan arg cos cosh cot coth csc deg det dim exp gcd hom inf ker lg lim liminf limsup ln log max "
    "min Pr sec sin sinh sup tan tanh"
)
_SYNONYMS = (
    "dfrac=frac tfrac=frac cfrac=frac dbinom=binom tbinom=binom le=leq ge=geq leqslant=leq geqslant=geq ne=neq "
    "to=rightarrow gets=leftarrow implies=Rightarrow iff=Leftrightarrow land=wedge lor=vee lnot=neg owns=ni "
    "dots=ldots dotsc=ldots dotsb=cdots lbrace={ rbrace=} lVert=| rVert=| Vert=|"
)
_CHARACTERS = {
    "lvert": "|",
    "rvert": "|",
    "vert": "|",
    "mid": "|",
    "lbrack": "[",
    "rbrack": "]",
    "ast": "*",
    "colon": ":",
}

_SAME: Mapping[str, Sequence[str]] = {
    **{rf"\{name}": tuple(name) for name in _OPERATORS.split()},
    **{rf"\{one}": (rf"\{other}",) for one, other in (pair.split("=") for pair in _SYNONYMS.split())},
    **{rf"\{name}": (character,) for name, character in _CHARACTERS.items()},
}
"""Tokens, and those that look the same. The letters of an operator are letters."""


def comparable(latex: str) -> str:
    """LaTeX made alike, its tokens with a blank between; empty if its braces do not close, which nothing renders."""
    latex = _PRIMES.sub(lambda match: "^{" + r"\prime" * len(match[0]) + "}", latex)
    tokens = [same for token in _TOKEN.findall(latex) if token not in _DROPPED for same in _SAME.get(token, (token,))]
    try:
        return " ".join(_Reader(tokens).everything())
    except (IndexError, ValueError):
        return ""


class _Reader:
    """Reads tokens once, left to right."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self._tokens = [*tokens, "}"]
        self._at = 0

    def everything(self) -> list[str]:
        """All of it. IndexError or ValueError if braces or brackets do not close, or close what is not open."""
        made = self._until_closed()
        if self._at != len(self._tokens):
            raise IndexError
        return made

    def _until_closed(self) -> list[str]:
        made: list[str] = []
        while (token := self._tokens[self._at]) != "}":
            if token in ("^", "_"):
                made += self._scripts()
            elif token == "{" and made and _COMMAND.fullmatch(made[-1]):
                made += self._argument()
            else:
                made += self._next()
        self._at += 1
        return made

    def _next(self) -> list[str]:
        """A token with its arguments, or what stands in braces, or what a font is for."""
        token = self._tokens[self._at]
        self._at += 1
        if token == "{":
            return self._until_closed()
        if token in _FONTS:
            return self._next()
        if token == "}":
            raise IndexError
        root = self._in_brackets() if token == r"\sqrt" and self._tokens[self._at] == "[" else []
        return [token, *root, *(part for _ in range(_ARGUMENTS.get(token, 0)) for part in self._argument())]

    def _in_brackets(self) -> list[str]:
        start = self._at
        self._at = self._tokens.index("]", start) + 1
        return self._tokens[start : self._at]

    def _argument(self) -> list[str]:
        inner = self._next()
        return inner if len(inner) == 1 else ["{", *inner, "}"]

    def _scripts(self) -> list[str]:
        """A subscript and a superscript, in this order, however they were written."""
        found: dict[str, list[str]] = {}
        while (mark := self._tokens[self._at]) in ("^", "_") and mark not in found:
            self._at += 1
            found[mark] = self._argument()
        return [token for mark in "_^" if mark in found for token in (mark, *found[mark])]
