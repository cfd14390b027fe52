"""Short names for the tests of the language, and a program with one of every kind of block."""

from karel_fast.karel.language import Action, Condition, If, IfElse, Program, Repeat, While

MOVE, LEFT, RIGHT, PICK, PUT = Action
FRONT = Condition.FRONT_IS_CLEAR

EVERYTHING = Program(
    (
        MOVE,
        If(FRONT, True, (LEFT,)),
        IfElse(Condition.MARKERS_PRESENT, False, (PICK,), ()),
        While(Condition.NO_MARKERS_PRESENT, False, (Repeat(3, (RIGHT, MOVE)),)),
        PUT,
    )
)
