"""Names that look like a name nobody knows. Bounded work for any text a caller sends."""

import difflib
from collections.abc import Iterable

MAX_CHARS = 128
# Compared letter by letter at most; the others share fewer parts with the name.
MAX_COMPARED = 60
# Below this likeness a suggestion is noise.
MIN_LIKENESS = 0.6
PART = 3


class Suggestions:
    """Made of names once; `close` takes well under a millisecond for each of thousands of names."""

    def __init__(self, names: Iterable[tuple[str, str]]) -> None:
        """(text people may write, id it means); the first meaning of a text stays."""
        self._ids: dict[str, str] = {}
        for text, model_id in names:
            self._ids.setdefault(text.lower(), model_id)
        self._texts = tuple(self._ids)
        self._parts: dict[str, list[int]] = {}
        for place, text in enumerate(self._texts):
            for part in _parts(text):
                self._parts.setdefault(part, []).append(place)

    @classmethod
    def of_ids(cls, model_ids: Iterable[str]) -> "Suggestions":
        """People leave the author out, so the part after it counts as a name too."""
        ids = list(model_ids)
        bare = ((model_id.rpartition("/")[2], model_id) for model_id in ids)
        return cls([*((model_id, model_id) for model_id in ids), *bare])

    def close(self, name: str, most: int) -> list[str]:
        """At most so many ids, the closest first."""
        asked = name[:MAX_CHARS].lower()
        shared: dict[int, int] = {}
        for part in _parts(asked):
            for place in self._parts.get(part, ()):
                shared[place] = shared.get(place, 0) + 1
        likely = sorted(shared, key=lambda p: (-shared[p], len(self._texts[p])))[:MAX_COMPARED]
        texts = [self._texts[place] for place in likely]
        found = difflib.get_close_matches(asked, texts, n=3 * most, cutoff=MIN_LIKENESS)
        return list(dict.fromkeys(self._ids[text] for text in found))[:most]


def _parts(text: str) -> set[str]:
    return {text[i : i + PART] for i in range(max(1, len(text) - PART + 1))}
