"""What a module does in the network, and what an operator does."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from typing import ClassVar

_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class Category(str):
    """Where time goes, by the part of the network that spends it: an id such as ``attention``.

    A module class declares its category where it is defined; a module without one belongs to the
    nearest ancestor that has one. LayerNorm and residual additions belong to the attention or FFN
    they serve, so that the shares compare with those published for layer-level latency.

    Five are always there. A network that has other parts, such as a neck or a head, declares theirs
    where its modules are defined: ``NECK = Category.declare("neck", "Neck")``. Saved runs may hold
    ids that were declared elsewhere, so any id is a category.
    """

    __slots__ = ()

    PRE_AND_POST: ClassVar[Category]
    CONVOLUTION: ClassVar[Category]
    FOLD: ClassVar[Category]
    ATTENTION: ClassVar[Category]
    FFN: ClassVar[Category]

    _known: ClassVar[dict[str, Category]] = {}
    _titles: ClassVar[dict[str, str]] = {}

    def __new__(cls, id: str) -> Category:
        """Return the category with this id, the same object for one that is declared."""
        return cls._known.get(id) or super().__new__(cls, id)

    @classmethod
    def declare(cls, id: str, title: str) -> Category:
        """Make a category known; it comes after those declared before.

        Args:
            id: small letters, digits and dashes: it is typed in gates, such as ``attention:40%``.
            title: as reports print it.

        Raises:
            ValueError: it is no such id, or is declared with another title.
        """
        if not _ID.fullmatch(id):
            raise ValueError(f"'{id}' cannot be the id of a category: letters, digits and dashes")
        if cls._titles.setdefault(id, title) != title:
            raise ValueError(f"the category '{id}' has the title '{cls._titles[id]}'")
        return cls._known.setdefault(id, cls(id))

    @classmethod
    def declared(cls) -> tuple[Category, ...]:
        """Return the categories that are declared, in order."""
        return tuple(cls._known.values())

    @classmethod
    def ordered(cls, present: Iterable[str]) -> tuple[Category, ...]:
        """Return the five that are always there, then others that are present.

        Those that are declared come in the order of their declaration, others as they appear.
        """
        appearing = dict.fromkeys(map(cls, present))
        others = [known for known in cls.declared() if known in appearing]
        return tuple(dict.fromkeys((*_ALWAYS, *others, *appearing)))

    @property
    def heading(self) -> str:
        """The title as reports print it; one that is not declared is named by its id."""
        words = self.replace("-", " ").replace("_", " ")
        return self._titles.get(self, words[:1].upper() + words[1:])


Category.PRE_AND_POST = Category.declare("pre-and-post", "Pre- and post-processing")
Category.CONVOLUTION = Category.declare("convolution", "Convolution")
Category.FOLD = Category.declare("fold", "Fold / unfold")
Category.ATTENTION = Category.declare("attention", "Attention")
Category.FFN = Category.declare("ffn", "FFN")

_ALWAYS = Category.declared()


class OperatorKind(enum.StrEnum):
    """Where time goes, by what the operator computes. Each engine maps its own names to these."""

    MATMUL = "MatMul/Gemm"
    CONV = "Conv"
    SOFTMAX = "Softmax"
    LAYERNORM = "LayerNorm"
    ACTIVATION = "Activation"
    DATA_MOVEMENT = "Data movement"
    OTHER = "Other"
