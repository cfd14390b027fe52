"""The robot's world: the language, the worlds, and the three backends that run one on the other. Mirrors csrc/karel."""
