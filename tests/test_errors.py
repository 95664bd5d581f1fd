import pickle

import pytest

from edgesmith import errors
from edgesmith.errors import EdgesmithError, RecipeError, worst

KINDS = [
    k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, EdgesmithError) and k is not RecipeError
]


@pytest.mark.parametrize("kind", KINDS)
def test_three_parts_survive_pickling(kind: type[EdgesmithError]):
    error = kind("open x.onnx", "no such file", "check the path")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert (again.asked, again.found, again.todo) == ("open x.onnx", "no such file", "check the path")
    assert str(again) == "open x.onnx: no such file; check the path"


def test_exit_codes_are_those_of_the_drawn_tree():
    drawn = {}
    for line in (errors.__doc__ or "").splitlines():
        words = line.replace("|-", "").replace("'-", "").replace("|", "").split()
        if len(words) > 1 and words[1].isdigit():
            drawn[words[0]] = int(words[1])
    assert drawn == {k.__name__: k.exit_code for k in [*KINDS, RecipeError] if k is not EdgesmithError}


def test_a_recipe_error_holds_all_mistakes():
    one, two = RecipeError("r.yaml", ["a: b"]), RecipeError("r.yaml", ["a: b", "c: d"])
    assert "1 mistake\n" in str(one) and "2 mistakes\n  a: b\n  c: d" in str(two)
    assert pickle.loads(pickle.dumps(two)).problems == ("a: b", "c: d")


def test_without_advice_there_is_no_dangling_mark():
    assert str(EdgesmithError("a", "b", "")) == "a: b"


@pytest.mark.parametrize(
    ("codes", "code"), [((), 0), ((0, 0), 0), ((5, 1), 1), ((1, 3, 5), 3), ((3, 2), 2), ((2, 4), 4)]
)
def test_the_exit_code_that_wins(codes: tuple[int, ...], code: int) -> None:
    assert worst(codes) == code
