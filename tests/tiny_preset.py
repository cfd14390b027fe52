"""A preset of everything, as small as it can be."""

TINY = """
layout = "compact"
[recipe]
height = 4
width = 4
examples = 1
held_out = 1
lengths = [2, 2]
[model]
layers = 1
width = 16
heads = 4
[training]
steps = 4
batch_size = 8
snapshot_every = 2
compile = false
precision = "fp32"
[decoding]
compile_decoding = false
precision = "fp32"
[evaluation]
specifications = 8
on_the_way = 6
[probing]
programs = { train = 20, validation = 8, test = 8 }
depths = ["linear"]
offsets = [0]
seeds = [0, 1]
least_steps = 5
examples = 1
"""
