"""Suffixes of a model's name that change how it is routed, not which model it is.

`x:nitro` asks for x, the fastest offers first. Parsed here, given meaning by routing; a listed id
that ends in such a word (as `x:free` does where a provider lists it) is found before this is asked.
"""

VARIANTS = ("free", "nitro", "floor", "thinking", "extended", "online")
MARK = ":"


def split_variants(name: str) -> tuple[str, tuple[str, ...]]:
    """(the name without its suffixes, the suffixes in the order written, each once)."""
    found: list[str] = []
    while True:
        base, mark, word = name.rpartition(MARK)
        if not mark or not base or word.lower() not in VARIANTS:
            return name, tuple(dict.fromkeys(reversed(found)))
        found.append(word.lower())
        name = base
