"""Worlds: arrays and text in and out, random ones, indexing, and the errors of what is no world."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import worlds

from karel_fast.karel.world import Worlds

TEXT = "#####\n#>.2#\n#.#.#\n#..9#\n#####"


def arrays(count=2, height=4, width=5):
    """Writable arrays of worlds without inner walls or markers, the robot at row 1, column 2, facing south."""
    walls = np.ones((count, height, width), bool)
    walls[:, 1:-1, 1:-1] = False
    markers = np.zeros((count, height, width), np.uint8)
    robot = np.tile(np.array([1, 2, 2], np.uint8), (count, 1))
    return {"walls": walls, "markers": markers, "robot": robot}


# Text


def test_text_in():
    world = Worlds.from_text([TEXT])
    assert (world.batch, world.height, world.width, len(world)) == (1, 5, 5, 1)
    assert (world.walls.dtype, world.markers.dtype, world.robot.dtype) == (np.bool_, np.uint8, np.uint8)
    assert world.robot.tolist() == [[1, 1, 1]]
    assert world.walls[0, 1:-1, 1:-1].astype(int).tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert world.markers[0, 1:-1, 1:-1].tolist() == [[0, 0, 2], [0, 0, 0], [0, 0, 9]]
    assert world.to_text() == [TEXT]


def test_the_ways_to_write_a_text():
    expected = Worlds.from_text([TEXT, TEXT])
    assert Worlds.from_text([TEXT.split("\n"), tuple(TEXT.split("\n"))]) == expected
    assert Worlds.from_text((TEXT + "\n", "\n" + TEXT)) == expected
    assert Worlds.from_text(iter([TEXT, TEXT])) == expected
    assert Worlds.from_text(np.array([TEXT, TEXT])) == expected
    assert Worlds.from_text([TEXT.replace("\n", "\r\n"), TEXT]) == expected
    assert Worlds.from_text(TEXT) == expected[0]


@pytest.mark.parametrize(("sign", "direction"), [("^", 0), (">", 1), ("v", 2), ("<", 3)])
def test_the_robots_signs(sign, direction):
    world = Worlds.from_text([f"###\n#{sign}#\n###"])
    assert world.robot.tolist() == [[1, 1, direction]]
    assert world.to_text() == [f"###\n#{sign}#\n###"]


def test_text_shows_nine_for_more_and_hides_what_is_under_the_robot():
    given_ = arrays(1)
    given_["markers"][0, 1, 1:4] = [10, 7, 255]
    given_["markers"][0, 2, 1:4] = [1, 9, 0]
    assert Worlds(**given_).to_text() == ["#####\n#9v9#\n#19.#\n#####"]


@given(worlds(count=3))
def test_text_round_trip_keeps_all_that_text_shows(batch):
    again = Worlds.from_text(batch.to_text())
    assert np.array_equal(again.walls, batch.walls)
    assert np.array_equal(again.robot, batch.robot)
    shown = np.minimum(batch.markers, 9)
    shown[np.arange(3), batch.robot[:, 0], batch.robot[:, 1]] = 0
    assert np.array_equal(again.markers, shown)
    assert again.to_text() == batch.to_text()


@pytest.mark.parametrize("side", [3, 64])
def test_the_smallest_and_the_largest(side):
    world = Worlds.random(1, side, 67 - side, seed=0)
    assert Worlds.from_text(world.to_text()).walls.shape == (1, side, 67 - side)


GOOD = "####\n#>.#\n####"


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        ([], "empty list"),
        ([GOOD, ""], "world 1 is empty"),
        ([GOOD, []], "world 1 is empty"),
        ([GOOD, "####\n#>.\n####"], "world 1, row 1 has 3 cells, row 0 has 4"),
        ([GOOD, "####\n#>.#\n#####"], "world 1, row 2 has 5 cells, row 0 has 4"),
        (["####\n\n#>.#\n####"], "world 0, row 1 has 0 cells, row 0 has 4"),
        ([GOOD, "#####\n#>..#\n#####"], "world 1 has 3 x 5 cells, world 0 3 x 4"),
        ([GOOD, "####\n#>.#\n#..#\n####"], "world 1 has 4 x 4 cells, world 0 3 x 4"),
        ([GOOD, "####\n#>..\n####"], "world 1, row 1, column 3: the outer ring must be all wall"),
        ([GOOD, "##1#\n#>.#\n####"], "world 1, row 0, column 2: the outer ring must be all wall"),
        ([GOOD, "####\n#.>#\n#.##"], "world 1, row 2, column 1: the outer ring must be all wall"),
        (["####\n..>#\n####"], "world 0, row 1, column 0: the outer ring must be all wall"),
        (["####\n#..<\n####"], "world 0, row 1, column 3: the outer ring must be all wall"),
        ([GOOD, "####\n#..#\n####"], r"world 1 has no robots; put exactly one of \^ > v <"),
        ([GOOD, "####\n#>^#\n####"], r"world 1 has 2 robots \(row 1, column 1; row 1, column 2\)"),
        ([GOOD, "####\n#>x#\n####"], "world 1, row 1, column 2: unknown character 'x'; use # . 1-9"),
        ([GOOD, "####\n#>0#\n####"], "row 1, column 2: unknown character '0'"),
        ([GOOD, "####\n#>é#\n####"], "row 1, column 2: unknown character 'é'"),
        ([GOOD, "####\n# >#\n####"], "row 1, column 1: unknown character ' '"),
        (["##\n##"], "too small: the height is 2; give 3 to 64"),
        (["##\n#>\n##"], "too small: the width is 2"),
        (["#" * 65 + "\n#>" + "." * 62 + "#\n" + "#" * 65], "too large: the width is 65"),
        (["\n".join(["###", "#>#", *["#.#"] * 62, "###"])], "too large: the height is 65"),
        (["####", "#>.#", "####"], "wrap them in a list"),
    ],
)
def test_wrong_texts(texts, says):
    with pytest.raises(ValueError, match=says):
        Worlds.from_text(texts)


def test_texts_that_are_no_text():
    with pytest.raises(TypeError, match="world 1, row 0 is int"):
        Worlds.from_text([GOOD, [1, 2, 3]])
    with pytest.raises(TypeError, match="world 1 is int"):
        Worlds.from_text([GOOD, 3])
    with pytest.raises(TypeError, match="texts is int"):
        Worlds.from_text(3)


# Arrays


def test_arrays_are_copied_and_read_only():
    given_ = arrays()
    batch = Worlds(**given_)
    given_["markers"][:] = 7
    given_["walls"][:] = True
    given_["robot"][:] = 0
    assert batch == Worlds(**arrays())
    for array in (batch.walls, batch.markers, batch.robot):
        assert array.flags.c_contiguous
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_arrays_that_are_not_contiguous():
    expected = Worlds(**arrays(4))
    double = arrays(8)
    assert Worlds(**{name: array[::2] for name, array in double.items()}) == expected
    fortran = {name: np.asfortranarray(array) for name, array in arrays(4).items()}
    fortran = Worlds(**fortran)
    assert fortran == expected
    assert fortran.walls.flags.c_contiguous
    backwards = {name: array[::-1] for name, array in arrays(4).items()}
    assert Worlds(**backwards) == expected


def test_walls_are_stored_as_zeros_and_ones():
    given_ = arrays()
    given_["walls"] = (given_["walls"].astype(np.uint8) * 2).view(bool)
    assert set(Worlds(**given_).walls.view(np.uint8).flat) == {0, 1}


def test_an_empty_batch():
    empty = Worlds(**arrays(0))
    assert (len(empty), empty.height, empty.width) == (0, 4, 5)
    assert empty.to_text() == []
    assert list(empty) == []
    assert empty == Worlds.random(0, 4, 5, seed=0) == Worlds(**arrays())[:0]


def change(name, index, value):
    def apply(given_):
        given_[name][index] = value

    return apply


def replace(name, make):
    def apply(given_):
        given_[name] = make(given_[name])

    return apply


@pytest.mark.parametrize(
    ("damage", "error", "says"),
    [
        (replace("walls", lambda a: a.astype(np.uint8)), TypeError, r"walls is uint8; make it bool"),
        (replace("markers", lambda a: a.astype(int)), TypeError, r"markers is int64; make it uint8"),
        (replace("robot", lambda a: a.astype(float)), TypeError, r"robot is float64; make it uint8"),
        (replace("robot", lambda a: a.tolist()), TypeError, r"robot is int64; make it uint8"),
        (replace("walls", lambda a: a[0]), ValueError, r"walls has shape \(4, 5\); .* add an axis in front"),
        (replace("markers", lambda a: a[None]), ValueError, r"markers has shape \(1, 2, 4, 5\)"),
        (replace("markers", lambda a: a[:1]), ValueError, r"markers has shape \(1, 4, 5\), walls \(2, 4, 5\)"),
        (replace("markers", lambda a: a[:, :, :-1]), ValueError, r"markers has shape \(2, 4, 4\), walls \(2, 4, 5\)"),
        (replace("robot", lambda a: a[:1]), ValueError, r"robot has shape \(1, 3\), but there are 2 worlds"),
        (replace("robot", lambda a: a[:, :2]), ValueError, r"robot has shape \(2, 2\)"),
        (change("walls", (1, 0, 3), False), ValueError, "world 1, row 0, column 3: the outer ring must be all wall"),
        (change("walls", (0, 2, 4), False), ValueError, "world 0, row 2, column 4: the outer ring must be all wall"),
        (change("walls", (1, 3, 0), False), ValueError, "world 1, row 3, column 0: the outer ring must be all wall"),
        (change("walls", (1, 1, 2), True), ValueError, "world 1, row 1, column 2: the robot stands in a wall"),
        (change("robot", (1, 0), 4), ValueError, "world 1: the robot's row is 4; give 0 to 3"),
        (change("robot", (0, 1), 200), ValueError, "world 0: the robot's column is 200; give 0 to 4"),
        (change("robot", (1, 2), 4), ValueError, "world 1: the robot's direction is 4; give 0 to 3"),
        (change("robot", (1, 0), 0), ValueError, "world 1, row 0, column 2: the robot stands in a wall"),
    ],
)
def test_wrong_arrays(damage, error, says):
    given_ = arrays()
    damage(given_)
    with pytest.raises(error, match=says):
        Worlds(**given_)


@pytest.mark.parametrize(
    ("height", "width", "says"), [(2, 5, "height is 2"), (4, 65, "width is 65"), (0, 5, "height is 0")]
)
def test_wrong_sizes(height, width, says):
    given_ = {
        "walls": np.ones((1, height, width), bool),
        "markers": np.zeros((1, height, width), np.uint8),
        "robot": np.ones((1, 3), np.uint8),
    }
    with pytest.raises(ValueError, match=says):
        Worlds(**given_)


def test_markers_inside_walls_are_kept():
    given_ = arrays(1)
    given_["markers"][0, 0, 0] = 3
    batch = Worlds(**given_)
    assert batch.markers[0, 0, 0] == 3
    assert batch.to_text()[0].startswith("#####")


# A batch as a collection


def test_indexing():
    batch = Worlds.random(6, 5, 7, seed=3)
    texts = batch.to_text()
    assert batch[2].to_text() == texts[2:3]
    assert batch[np.int64(-1)].to_text() == texts[5:]
    assert batch[1:5:2].to_text() == texts[1:5:2]
    assert batch[::-1].to_text() == texts[::-1]
    assert batch[[4, 0, 4]].to_text() == [texts[4], texts[0], texts[4]]
    assert batch[np.array(texts) == texts[3]].to_text() == [texts[3]]
    assert len(batch[[]]) == 0
    assert [world.to_text()[0] for world in batch] == texts
    for part in (batch[2], batch[::-1], batch[[1, 2]]):
        for array in (part.walls, part.markers, part.robot):
            assert array.flags.c_contiguous
            assert not array.flags.writeable
    for wrong in (6, -7):
        with pytest.raises(IndexError, match=f"world {wrong} of a batch of 6"):
            batch[wrong]
    with pytest.raises(IndexError):
        batch[[6]]
    for wrong in (1.5, "a", [[1, 2]], [0.5], None, np.zeros((2, 2), bool)):
        with pytest.raises(TypeError, match="worlds are indexed by"):
            batch[wrong]


def test_equality():
    batch = Worlds.random(3, seed=1)
    assert batch == Worlds(walls=batch.walls, markers=batch.markers, robot=batch.robot)
    assert batch != batch[:2]
    assert batch != batch[[1, 0, 2]]
    assert batch != Worlds.random(3, 8, 9, seed=1)
    assert batch != batch.to_text()
    markers = batch.markers.copy()
    markers[2, 3, 3] += 1
    assert batch != Worlds(walls=batch.walls, markers=markers, robot=batch.robot)
    with pytest.raises(TypeError, match="unhashable"):
        hash(batch)


def test_copies():
    batch = Worlds.random(3, seed=1)
    for again in (pickle.loads(pickle.dumps(batch)), copy.copy(batch), copy.deepcopy(batch)):
        assert again == batch
        assert not again.walls.flags.writeable
    assert repr(batch) == "<Worlds: 3 of 8 x 8>"


def test_concatenate():
    one, two = Worlds.random(2, seed=1), Worlds.random(3, seed=2)
    both = Worlds.concatenate([one, two])
    assert (both[:2], both[2:]) == (one, two)
    with pytest.raises(ValueError, match="at least one"):
        Worlds.concatenate([])
    with pytest.raises(ValueError, match="batch 1 has worlds of 8 x 9, batch 0 of 8 x 8"):
        Worlds.concatenate([one, Worlds.random(1, 8, 9, seed=0)])
    with pytest.raises(TypeError, match="batch 1 is str"):
        Worlds.concatenate([one, TEXT])


def test_trusted_arrays_are_not_copied_nor_frozen():
    given_ = arrays()
    batch = Worlds._trusted(**given_)
    assert np.shares_memory(batch.markers, given_["markers"])
    assert not batch.markers.flags.writeable
    assert given_["markers"].flags.writeable


# Random worlds


@given(st.integers(0, 2**32), st.integers(3, 64), st.integers(3, 64), st.floats(0, 1), st.floats(0, 1))
def test_random_worlds_are_worlds(seed, height, width, walls, markers):
    batch = Worlds.random(3, height, width, wall_probability=walls, marker_probability=markers, seed=seed)
    assert Worlds(walls=batch.walls, markers=batch.markers, robot=batch.robot) == batch
    assert batch.markers.max() <= 1
    assert not (batch.markers.astype(bool) & batch.walls).any()
    assert not batch.markers[np.arange(3), batch.robot[:, 0], batch.robot[:, 1]].any()
    assert batch == Worlds.random(3, height, width, wall_probability=walls, marker_probability=markers, seed=seed)


def test_random_worlds_follow_their_distribution():
    count = 20_000
    batch = Worlds.random(count, wall_probability=0.2, marker_probability=0.3, seed=7)
    assert batch != Worlds.random(count, wall_probability=0.2, marker_probability=0.3, seed=8)
    inner_walls, inner_markers = batch.walls[:, 1:-1, 1:-1], batch.markers[:, 1:-1, 1:-1]
    # One cell of the 36 is the robot's and cleared; the tolerance is about six standard errors of a cell's frequency.
    expected = (("walls", inner_walls, 0.2 * 35 / 36), ("markers", inner_markers, 0.8 * 0.3 * 35 / 36))
    for name, cells, probability in expected:
        assert np.abs(cells.mean(axis=0) - probability).max() < 0.018, name
    places = np.bincount(batch.robot[:, 0] * 8 + batch.robot[:, 1], minlength=64).reshape(8, 8)
    assert places[1:-1, 1:-1].sum() == count
    assert np.abs(places[1:-1, 1:-1] / count - 1 / 36).max() < 0.008
    assert np.abs(np.bincount(batch.robot[:, 2], minlength=4) / count - 0.25).max() < 0.02


def test_random_worlds_at_the_extremes():
    full = Worlds.random(10, wall_probability=1, seed=0)
    assert full.walls.sum() == 10 * 63
    marked = Worlds.random(10, wall_probability=0, marker_probability=1, seed=0)
    assert marked.markers.sum() == 10 * 35


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"wall_probability": 1.5}, "wall_probability is 1.5"),
        ({"marker_probability": -0.1}, "marker_probability is -0.1"),
        ({"wall_probability": float("nan")}, "wall_probability is nan"),
        ({"count": -1}, "count is -1"),
        ({"height": 2}, "height is 2"),
        ({"width": 65}, "width is 65"),
    ],
)
def test_wrong_random_worlds(arguments, says):
    with pytest.raises(ValueError, match=says):
        Worlds.random(**{"count": 1, "seed": 0, **arguments})


@given(worlds(count=3), st.randoms(use_true_random=False))
def test_same_text_is_equality_of_the_texts(some, random):
    markers = some.markers.copy()
    for _ in range(3):
        place = tuple(random.randrange(size) for size in markers.shape)
        markers[place] = random.choice([0, 1, 9, 200])
    turned = some.robot.copy()
    turned[:, 2] = (turned[:, 2] + random.choice([0, 0, 1])) % 4
    for other in (
        Worlds(walls=some.walls, markers=markers, robot=some.robot),
        Worlds(walls=some.walls, markers=some.markers, robot=turned),
    ):
        expected = [a == b for a, b in zip(some.to_text(), other.to_text(), strict=True)]
        assert some.same_text(other).tolist() == expected


def test_same_text_wants_the_same_shape():
    one, two = Worlds.random(2, 5, 5, seed=0), Worlds.random(1, 5, 5, seed=0)
    with pytest.raises(ValueError, match=r"\(2, 5, 5\) and \(1, 5, 5\)"):
        one.same_text(two)


def test_equal_is_exact():
    one = Worlds.from_text(["#####\n#>..#\n#####"] * 5)
    markers, robot, walls = one.markers.copy(), one.robot.copy(), one.walls.copy()
    markers[1, 1, 1] = 1  # under the robot: no text shows it
    markers[2, 0, 0] = 1  # in a wall
    robot[3, 2] = 2
    walls[4, 1, 3] = True
    other = Worlds(walls=walls, markers=markers, robot=robot)
    assert one.equal(other).tolist() == [True, False, False, False, False]
    assert one.same_text(other).tolist() == [True, True, True, False, False]
    assert [a == b for a, b in zip(one, other, strict=True)] == one.equal(other).tolist()
    with pytest.raises(ValueError, match=r"\(5, 3, 5\) and \(2, 3, 5\)"):
        one.equal(other[:2])
    with pytest.raises(TypeError, match="other is str"):
        one.equal("#####")
