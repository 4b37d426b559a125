"""One tensor of a checkpoint that has not been read yet."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

# A language model's output layer, on which no value depends; head is RWKV's.
OUTPUT_LAYER = re.compile(r"(^|\.)(lm_head|embed_out|output_layer|output_projection)\.|^head\.")


@dataclass(frozen=True)
class Stored:
    """What headers say of a tensor, and how to read it.

    Attributes:
        shape: Of the whole tensor, however many files hold its parts.
        dtype: As stored.
        files: The files that hold it or its parts.
        read: Reads it, in the dtype given or else as stored, into memory of its own; no file stays mapped for it. A
            narrower dtype is filled straight from the file, so that no wider copy is ever held.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    files: tuple[Path, ...]
    read: Callable[..., Tensor]

    @property
    def file(self) -> Path:
        """The file to name in an error."""
        return self.files[0]

    def to(self, dtype: torch.dtype) -> "Stored":
        """The same tensor, read in another floating dtype; integers stay as they are."""
        if not self.dtype.is_floating_point:
            return self
        return replace(self, dtype=dtype, read=partial(self.read, dtype))

    def get_shape(self) -> list[int]:
        """As safetensors tells it: transformers asks for it where processes take a part of a tensor each."""
        return list(self.shape)

    def __getitem__(self, part: Any) -> Tensor:
        """The tensor, or a part of it in memory of its own: transformers reads a lazy state dict through this."""
        whole = self.read()
        return whole if part is ... else whole[part].clone()


Tensors = dict[str, Stored]
