"""Products of parametrised axes, thinned to pairs.

Of a test with three axes or more, the first few combinations stay that show every pair of values of two
axes. Tests with one or two axes keep all. `@pytest.mark.thin(1)` keeps every value once instead, where
axes don't interact, and `@pytest.mark.thin(3)` every triple.
"""

import itertools


def thinned(combinations: list, strength: int = 2) -> list[int]:
    """The positions of those combinations, each one value an axis, that show what all of them show.

    Greedy: the next one is that with the most new pairs (triples, values), the first of several.
    """
    shown = [
        set(itertools.combinations(enumerate(one), min(strength, len(one)))) for one in combinations
    ]
    missing, kept = set().union(*shown), []
    while missing:
        best = max(range(len(shown)), key=lambda i: len(shown[i] & missing))
        missing -= shown[best]
        kept.append(best)
    return sorted(kept)


def split(items: list) -> tuple[list, list]:
    """pytest's items that stay, and those that go."""
    groups: dict[tuple, list] = {}
    for item in items:
        if hasattr(item, "callspec"):
            groups.setdefault((item.parent, item.originalname), []).append(item)
    dropped = set()
    for group in groups.values():
        marker = group[0].get_closest_marker("thin")
        # `_idlist` has one name for each `parametrize`, which may give values to several arguments.
        kept = thinned([i.callspec._idlist for i in group], marker.args[0] if marker else 2)
        dropped |= {group[i] for i in set(range(len(group))) - set(kept)}
    return [i for i in items if i not in dropped], [i for i in items if i in dropped]
