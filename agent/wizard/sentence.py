"""What is said later, in whatever language is chosen then. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Sentence:
    """English text, which is the key of the catalogues, and the facts in it."""

    text: str
    facts: Mapping[str, object] = field(default_factory=dict)
