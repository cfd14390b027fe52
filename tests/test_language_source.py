"""Source text: reading, printing, deep and long programs, and the errors of text that is no program."""

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from language_names import EVERYTHING, MOVE
from strategies import programs

from karel_fast.karel.language import (
    MAX_REPEAT,
    Action,
    Condition,
    If,
    KarelSyntaxError,
    Program,
    Repeat,
    While,
    compile,
    parse,
    to_source,
)

# Reading


def test_curly_source():
    source = """
        def run() {
            move();
            if (not (front_is_clear())) { turn_left() };
            ifelse (markers_present()) { pick_marker() } else { };
            while (no_markers_present()) { repeat (3) { turn_right(); move(); } };
            put_marker()
        }
    """
    assert parse(source) == EVERYTHING


def test_token_source():
    source = (
        "DEF run m( move IF c( not c( frontIsClear c) c) i( turnLeft i) IFELSE c( markersPresent c) i( pickMarker i) "
        "ELSE e( e) WHILE c( noMarkersPresent c) w( REPEAT R=3 r( turnRight move r) w) putMarker m)"
    )
    assert parse(source) == EVERYTHING


@pytest.mark.parametrize("action", list(Action))
def test_each_action_in_both_spellings(action):
    snake = action.name.lower()
    camel = "".join(word.capitalize() if k else word for k, word in enumerate(snake.split("_")))
    for source in (f"def run() {{ {snake}() }}", f"def run(){{{camel} ( ) ;}}", f"DEF run m( {camel} m)"):
        assert parse(source) == Program((action,))
    assert parse(f"DEF run m( {snake} m)") == Program((action,))


@pytest.mark.parametrize("condition", list(Condition))
def test_each_condition_in_both_spellings(condition):
    snake = condition.name.lower()
    camel = "".join(word.capitalize() if k else word for k, word in enumerate(snake.split("_")))
    for name in (snake, camel):
        assert parse(f"def run() {{ if ({name}()) {{ move() }} }}") == Program((If(condition, False, (MOVE,)),))
        assert parse(f"def run() {{ if (not({name}())){{}} }}") == Program((If(condition, True, ()),))
        assert parse(f"DEF run m( WHILE c( {name} c) w( w) m)") == Program((While(condition, False, ()),))


def test_not_without_brackets():
    assert parse("def run() { while (not front_is_clear()) { } }") == parse(
        "def run() { while (not (front_is_clear())) { } }"
    )


@pytest.mark.parametrize("source", ["def run() { }", "def run(){}", "DEF run m( m)", " def\nrun ( ) {\n}\n"])
def test_an_empty_program(source):
    assert parse(source) == Program(())
    assert str(Program(())) == "def run() { }"
    assert to_source(Program(()), "tokens") == "DEF run m( m)"


def test_repeat_counts_up_to_the_limit():
    for count in (0, 1, MAX_REPEAT):
        assert parse(f"def run() {{ repeat ({count}) {{ move() }} }}") == Program((Repeat(count, (MOVE,)),))
        assert parse(f"DEF run m( REPEAT R={count} r( move r) m)") == Program((Repeat(count, (MOVE,)),))
    for zeros in (2, 4_300, 100_000):
        assert parse(f"def run() {{ repeat ({zeros * '0'}7) {{ }} }}") == Program((Repeat(7, ()),))
        assert parse(f"DEF run m( REPEAT R={zeros * '0'} r( r) m)") == Program((Repeat(0, ()),))


WRONG = [
    # source, line, column (from 1), what the message must say
    ("", 1, 1, "the end of the source"),
    ("   \n  ", 1, 1, "the end of the source"),
    ("def main() {}", 1, 5, "'run'"),
    ("move()", 1, 1, "'def run() {'"),
    ("def run() { mvoe() }", 1, 13, "unknown action 'mvoe'; did you mean 'move'?"),
    ("def run() { jump() }", 1, 13, "unknown action 'jump'; use one of move, turn_left"),
    ("def run() { Turn_Left() }", 1, 13, "did you mean 'turn_left'?"),
    ("def run() {\n  move();\n  whle (front_is_clear()) { }\n}", 3, 3, "did you mean 'while'?"),
    ("def run() { while (front_is_blocked()) { } }", 1, 20, "'front_is_blocked'; write 'not front_is_clear()'"),
    ("def run() { if (rightIsBlocked()) { } }", 1, 17, "write 'not right_is_clear()'"),
    ("def run() { if (markers_not_present()) { } }", 1, 17, "did you mean 'no_markers_present'?"),
    ("def run() { if (beepers_present()) { } }", 1, 17, "did you mean 'markers_present'?"),
    ("def run() { pickBeeper() }", 1, 13, "did you mean 'pick_marker'?"),
    ("def run() { if (front_is_cleer()) { } }", 1, 17, "unknown condition 'front_is_cleer'; did you mean"),
    ("def run() { if (move()) { } }", 1, 17, "'move' is an action, not a condition"),
    ("def run() { front_is_clear() }", 1, 13, "'front_is_clear' is a condition, not an action"),
    ("def run() { if (front_is_clear) { } }", 1, 31, "a condition is written front_is_clear()"),
    ("def run() { if front_is_clear() { } }", 1, 16, "expected '('"),
    ("def run() { if () { } }", 1, 17, "expected a condition"),
    ("def run() { if (not front_is_clear())) { } }", 1, 38, "expected '{'"),
    ("def run() { if (not (front_is_clear()) { } }", 1, 40, "expected ')'"),
    ("def run() { if (not not front_is_clear()) { } }", 1, 21, "'not' of 'not'"),
    ("def run() { é() }", 1, 13, "unknown action 'é'"),
    ("DEF run m( IF c( not frontIsClear c) i( i) m)", 1, 22, "expected 'c('"),
    ("def run() { if (not (not (front_is_clear()))) { } }", 1, 22, "'not' of 'not'"),
    ("def run() { move }", 1, 18, "an action is written move()"),
    ("def run() { move(3) }", 1, 18, "expected ')', not '3'"),
    ("def run() { move() turn_left() }", 1, 20, "statements are separated by ';'"),
    ("def run() {\n  move()\n  turn_left()\n}", 3, 3, "expected ';'"),
    ("def run() { if (front_is_clear()) { } move() }", 1, 39, "expected ';'"),
    ("def run() { ; }", 1, 13, "expected a statement"),
    ("def run() { move();; move() }", 1, 20, "expected a statement"),
    ("def run() { move(), move() }", 1, 19, "expected ';'"),
    ("def run() { while (front_is_clear()) { } else { } }", 1, 42, "'else' has no 'if'"),
    ("def run() { ifelse (front_is_clear()) { } }", 1, 43, "expected 'else'"),
    ("def run() { ifelse (front_is_clear()) { }; else { } }", 1, 42, "expected 'else'"),
    ("def run() { repeat (-1) { } }", 1, 21, "not '-1'"),
    ("def run() { repeat (2.5) { } }", 1, 21, "not '2.5'"),
    ("def run() { repeat (³) { } }", 1, 21, "not '³'"),
    ("def run() { repeat (n) { } }", 1, 21, "expected a repeat count"),
    (f"def run() {{ repeat ({MAX_REPEAT + 1}) {{ }} }}", 1, 21, f"from 0 to {MAX_REPEAT}"),
    (f"def run() {{ repeat ({'9' * 10_000}) {{ }} }}", 1, 21, "is out of range"),
    ("def run() { move()", 1, 19, "inside the 'def' at line 1, column 1; close it with '}'"),
    ("def run() {\n while (left_is_clear()) { move(); ", 2, 35, "inside the 'while' at line 2, column 2"),
    ("def run() { } }", 1, 15, "a source holds one program"),
    ("def run() { } def run() { }", 1, 15, "a source holds one program"),
    ("def run() { move() ! forward\n}", 1, 20, "expected ';'"),
    ("def run() { @ }", 1, 13, "not '@'"),
    ("DEF run( move m)", 1, 5, "expected 'run'"),
    ("DEF run m( mvoe m)", 1, 12, "did you mean 'move'?"),
    ("DEF run m( putBeeper m)", 1, 12, "did you mean 'putMarker'?"),
    ("DEF run m( IF c( frontIsCleer c) i( move i) m)", 1, 18, "did you mean 'frontIsClear'?"),
    ("DEF run m( WHILE c( front_is_blocked c) w( move w) m)", 1, 21, "write 'not c( frontIsClear c)'"),
    ("DEF run m( move() m)", 1, 12, "expected a statement"),
    ("DEF run m( move ; move m)", 1, 17, "expected a statement"),
    ("DEF run m( IF c( frontIsClear c) i( move m)", 1, 42, "expected a statement or 'i)'"),
    ("DEF run m( IF ( frontIsClear c) i( move i) m)", 1, 15, "expected 'c('"),
    ("DEF run m( IFELSE c( frontIsClear c) i( i) m)", 1, 44, "expected 'ELSE'"),
    ("DEF run m( REPEAT 3 r( move r) m)", 1, 19, "R=n"),
    ("DEF run m( REPEAT R=-3 r( move r) m)", 1, 19, "not 'R=-3'"),
    ("DEF run m( REPEAT R=99999999 r( move r) m)", 1, 19, "is out of range"),
    ("DEF run m( move", 1, 16, "close it with 'm)'"),
]


@pytest.mark.parametrize(("source", "line", "column", "says"), WRONG)
def test_wrong_source_is_shown_with_its_place(source, line, column, says):
    with pytest.raises(KarelSyntaxError) as caught:
        parse(source)
    error = caught.value
    assert (error.line, error.column) == (line, column)
    assert says in str(error)
    assert f"line {line}, column {column}" in str(error)
    assert isinstance(error, ValueError)


def test_the_message_points_at_the_mark():
    with pytest.raises(KarelSyntaxError) as caught:
        parse("def run() {\n\tmove();\n\tmvoe()\n}")
    _, excerpt, caret = str(caught.value).split("\n")
    assert excerpt[caret.index("^") :] == "mvoe()"


def test_the_message_of_a_very_long_line_is_short():
    with pytest.raises(KarelSyntaxError) as caught:
        parse("def run() { " + "move(); " * 50_000 + "mvoe(); " + "move(); " * 50_000 + "}")
    message, excerpt, caret = str(caught.value).split("\n")
    assert len(message) + len(excerpt) < 300
    assert excerpt[caret.index("^") :].startswith("mvoe()")
    assert caught.value.column == 13 + 8 * 50_000


def test_an_endless_name_does_not_flood_the_message():
    with pytest.raises(KarelSyntaxError) as caught:
        parse("def run() { " + "m" * 1_000_000 + "() }")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("source", [None, 3, b"def run() { }", ["def run() { }"], Program(())])
def test_source_that_is_no_string(source):
    with pytest.raises(TypeError, match="string"):
        parse(source)


def test_a_syntax_error_survives_pickling():
    with pytest.raises(KarelSyntaxError) as caught:
        parse("def run() { x }")
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.line, again.column) == (str(caught.value), 1, 13)


# Printing


def test_curly_print():
    assert str(EVERYTHING) == (
        "def run() { move(); if (not (front_is_clear())) { turn_left() }; "
        "ifelse (markers_present()) { pick_marker() } else { }; "
        "while (no_markers_present()) { repeat (3) { turn_right(); move() } }; put_marker() }"
    )


def test_token_print():
    assert to_source(EVERYTHING, "tokens") == (
        "DEF run m( move IF c( not c( frontIsClear c) c) i( turnLeft i) IFELSE c( markersPresent c) i( pickMarker i) "
        "ELSE e( e) WHILE c( noMarkersPresent c) w( REPEAT R=3 r( turnRight move r) w) putMarker m)"
    )


def test_repr_can_be_read_back():
    assert eval(repr(EVERYTHING), {"parse": parse}) == EVERYTHING
    assert repr(EVERYTHING.body[1]) == "<if (not (front_is_clear())) { turn_left() }>"


def test_unknown_syntax():
    with pytest.raises(ValueError, match="'curly' or 'tokens'"):
        to_source(EVERYTHING, "lisp")
    with pytest.raises(TypeError, match="Program"):
        to_source("def run() { }")


@given(programs)
def test_print_and_parse_are_inverse_in_both_syntaxes(program):
    assert parse(str(program)) == program
    assert parse(to_source(program, "tokens")) == program


def syntax_error(source):
    try:
        parse(source)
    except KarelSyntaxError as error:
        return error
    return None


@given(st.text(alphabet="def run(){};mov_if not3R=\n", max_size=60))
def test_any_text_is_a_program_or_a_syntax_error(text):
    for source in (text, "def run() {" + text, "DEF run m( " + text):
        error = syntax_error(source)
        if error is None:
            assert parse(str(parse(source))) == parse(source)
        else:
            assert 1 <= error.line <= source.count("\n") + 1
            assert 1 <= error.column <= len(source) + 1


# Size


def nested(depth):
    """One of each kind of block in turn, around one move."""
    heads = [
        "if (front_is_clear()) { ",
        "while (not (left_is_clear())) { ",
        "repeat (2) { ",
        "ifelse (markers_present()) { ",
    ]
    tails = [" }", " }", " }", " } else { }"]
    opening = "".join(heads[k % 4] for k in range(depth))
    closing = "".join(tails[k % 4] for k in reversed(range(depth)))
    return f"def run() {{ {opening}move(){closing} }}"


def test_deep_nesting():
    source = nested(40_000)
    assert len(source) > 1_000_000
    program = parse(source)
    assert str(program) == source
    twin = parse(to_source(program, "tokens"))
    assert twin == program
    assert twin.body[0] == program.body[0]
    assert hash(twin) == hash(program)
    assert repr(program) == f"parse({source!r})"
    assert str(source[12:-2]) in repr(program.body[0])
    assert pickle.loads(pickle.dumps(program)) == program
    assert copy.deepcopy(program) == program
    assert copy.deepcopy(program.body[0]) == program.body[0]
    assert parse(nested(39_999)) != program
    compiled = compile(program)
    assert compiled.slots == 10_000
    assert pickle.loads(pickle.dumps(compiled)).program(0) == program


def test_deep_nesting_left_open():
    source = "def run() { " + "repeat (2) { " * 50_000
    with pytest.raises(KarelSyntaxError, match="inside the 'repeat'"):
        parse(source)


def test_a_long_straight_program():
    program = Program.from_actions([0, 1, 2, 3, 4] * 50_000)
    assert parse(str(program)) == program
    assert parse(to_source(program, "tokens")) == program


@pytest.mark.parametrize(
    ("source", "same"),
    [
        (
            "# first\ndef run() { move(); // ahead\n  turn_left() # twice: turn_left();\n}",
            "def run() { move(); turn_left() }",
        ),
        ("DEF run m( move # ahead\n turnLeft m)", "def run() { move(); turn_left() }"),
    ],
)
def test_comments(source, same):
    assert parse(source) == parse(same)


def test_an_error_after_a_comment_is_placed_in_the_source():
    with pytest.raises(KarelSyntaxError, match="line 2, column 13: unknown action 'mvoe'") as wrong:
        parse("# mvoe\ndef run() { mvoe() } # no")
    assert (wrong.value.line, wrong.value.column) == (2, 13)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        (
            "def run() { if (front_is_clear()) { move() } else { turn_left() }; pick_marker() }",
            "def run() { ifelse (front_is_clear()) { move() } else { turn_left() }; pick_marker() }",
        ),
        (
            "def run() { if (not markers_present()) { if (front_is_clear()) { } } else { if (left_is_clear()) { } else { move() } } }",
            "def run() { ifelse (not markers_present()) { if (front_is_clear()) { } } "
            "else { ifelse (left_is_clear()) { } else { move() } } }",
        ),
        (
            "DEF run m( IF c( frontIsClear c) i( move i) ELSE e( turnLeft e) m)",
            "DEF run m( IFELSE c( frontIsClear c) i( move i) ELSE e( turnLeft e) m)",
        ),
    ],
)
def test_if_with_an_else_is_an_ifelse(text, same):
    assert parse(text) == parse(same)
    assert parse(str(parse(text))) == parse(same)
