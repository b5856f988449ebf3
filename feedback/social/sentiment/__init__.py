"""The mood of posts, in English and Italian."""

from .engines import read_all
from .mood import Label, Mood

__all__ = ["Label", "Mood", "read_all"]
