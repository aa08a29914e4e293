from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from emsd.plant.tree import ancestors, children, circles, descendants, tops

PARENTS = {"incomer": None, "feeder": "incomer", "lamp": "feeder", "fan": "feeder", "pv": "incomer", "island": None}


def test_ancestors_come_nearest_first() -> None:
    assert ancestors("lamp", PARENTS) == ("feeder", "incomer")
    assert ancestors("island", PARENTS) == ()


def test_children_and_descendants_come_in_order() -> None:
    assert children("incomer", PARENTS) == ("feeder", "pv")
    assert children(None, PARENTS) == ("incomer", "island")
    assert descendants("incomer", PARENTS) == ("feeder", "lamp", "fan", "pv")


def test_tops_leave_out_what_an_ancestor_in_the_set_already_counts() -> None:
    assert tops(["lamp", "fan", "incomer", "island"], PARENTS) == ("incomer", "island")
    assert tops(["lamp", "pv"], PARENTS) == ("lamp", "pv")


def test_a_circle_is_found_once_and_nothing_runs_forever() -> None:
    parents = {"a": "b", "b": "c", "c": "b", "d": "d", "e": None}
    assert circles(parents) == [("b", "c"), ("d",)]
    assert ancestors("a", parents) == ("b", "c")


@given(st.dictionaries(st.integers(0, 12).map(str), st.none() | st.integers(0, 12).map(str)))
def test_every_key_is_under_exactly_one_top_of_the_whole_unless_there_is_a_circle(
    parents: dict[str, str | None],
) -> None:
    parents = {key: parent if parent in parents else None for key, parent in parents.items()}
    whole = tops(list(parents), parents)
    if not circles(parents):
        assert all(len({key, *ancestors(key, parents)} & set(whole)) == 1 for key in parents)
    assert all(key in {*ancestors(key, parents), *circle} for circle in circles(parents) for key in circle)
