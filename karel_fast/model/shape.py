"""Size of the Transformer, and how it is decoded: settings, without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from karel_fast.support.checks import whole
from karel_fast.support.settings import named, setting


@named
@dataclass(frozen=True, slots=True)
class ModelShape:
    """Size of the Transformer. ValueError or TypeError, naming the field, for one that cannot be."""

    layers: int = setting(4, "Blocks of the model.")
    width: int = setting(256, "Width of the residual stream.")
    heads: int = setting(4, "Attention heads, a multiple of 4.")
    rotary_dim: int | None = setting(None, "Dimensions of each head that are rotated (without it: half of them).")

    def __post_init__(self) -> None:
        for name in ("layers", "width", "heads"):
            whole(name, getattr(self, name), 1)
        if self.rotary_dim is not None:
            whole("rotary_dim", self.rotary_dim, 2)
            if self.rotary_dim % 2 or self.rotary_dim > self.width // self.heads:
                raise ValueError(
                    f"rotary_dim is {self.rotary_dim}; use an even number up to the head width {self.width // self.heads}"
                )


@named
@dataclass(frozen=True, slots=True)
class DecodingConfig:
    """Where and how a snapshot writes programs, for evaluation and for probing."""

    decode_batch_size: int = setting(256, "Programs decoded together.")
    compile_decoding: bool = setting(True, "Compile decoding; not worth its minute for few programs.")
    device: str = setting("auto", "auto, cpu, cuda or cuda:N.")
    precision: Literal["auto", "bf16", "fp32"] = setting(
        "auto", "Of decoding and of the probes' products: auto, bf16 or fp32."
    )

    def __post_init__(self) -> None:
        whole("decode_batch_size", self.decode_batch_size, 1)
        if self.precision not in ("auto", "bf16", "fp32"):
            raise ValueError(f"precision is {self.precision!r}; use one of auto, bf16, fp32")
