"""Size of the Transformer, and how it is decoded: settings, without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from karel_fast.support.checks import one_of
from karel_fast.support.settings import keep_whole, named, setting

Precision = Literal["auto", "bf16", "fp32"]
"""auto: bf16 where the device multiplies it faster."""
PRECISIONS: tuple[str, ...] = get_args(Precision)


@named
@dataclass(frozen=True, slots=True)
class ModelShape:
    """Size of the Transformer. ValueError or TypeError, naming the field, for one that cannot be."""

    layers: int = setting(4, "Blocks of the model.")
    width: int = setting(256, "Width of the residual stream.")
    heads: int = setting(4, "Attention heads, a multiple of 4.")
    rotary_dim: int | None = setting(None, "Dimensions of each head that are rotated (without it: half of them).")

    def __post_init__(self) -> None:
        keep_whole(self, ("layers", "width", "heads"), 1)
        keep_whole(self, ("rotary_dim",), 2)
        head = self.width // self.heads
        if self.rotary_dim is not None and (self.rotary_dim % 2 or self.rotary_dim > head):
            raise ValueError(f"rotary_dim is {self.rotary_dim}; use an even number up to the head width {head}")


@named
@dataclass(frozen=True, slots=True)
class DecodingConfig:
    """Where and how a snapshot writes programs, for evaluation and for probing."""

    decode_batch_size: int = setting(256, "Programs decoded together.")
    compile_decoding: bool = setting(True, "Compile decoding; not worth its minute for few programs.")
    device: str = setting("auto", "auto, cpu, cuda or cuda:N.")
    precision: Precision = setting("auto", "Of decoding and of the probes' products: auto, bf16 or fp32.")

    def __post_init__(self) -> None:
        keep_whole(self, ("decode_batch_size",), 1)
        one_of("precision", self.precision, PRECISIONS)
