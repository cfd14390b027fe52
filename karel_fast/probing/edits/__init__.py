"""Edits of hidden states: does the program follow, where, and how much of a state does it take?"""
