"""The way that tokens take through a grammar."""


def walk(grammar, tokens):
    """The state after these tokens, each of which must be allowed where it stands."""
    state = grammar.start_state
    for token in tokens:
        assert grammar.allowed[state, token]
        state = grammar.next_state[state, token]
    return state
