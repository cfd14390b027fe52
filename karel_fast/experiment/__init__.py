"""Whole experiments: presets, and the command that runs or finishes one."""
