"""Random numbers of a draw as a function of what is drawn: a seed, a position, a token. Nothing is kept between draws.

Counter-based (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC '11), with the finalizer of MurmurHash3:
a sequence draws the same noise on every device, in any company, and after it was preempted.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

import torch
from torch import Tensor

from llm_decoder.transfer import upload

GOLDEN = -1640531527  # 2^32 / golden ratio, as int32: consecutive tokens differ in every bit
FIRST_FACTOR, SECOND_FACTOR = -2048144789, -1028477387  # MurmurHash3's 0x85ebca6b and 0xc2b2ae35, as int32


def gumbel(draws: Sequence[tuple[int, int]], num_tokens: int, device: torch.device | str) -> Tensor:
    """Gumbel noise, float32 [B, ``num_tokens``], for draws of (seed, position).

    The argmax of logits plus this is a draw from their softmax. The uniform numbers under it have 23 bits, so that none
    rounds to 1 and none is 0.
    """
    keys_B2 = upload(torch.tensor([_keys(*draw) for draw in draws], dtype=torch.int32), device)
    tokens_V = torch.arange(num_tokens, dtype=torch.int32, device=device) * GOLDEN
    bits_BV = _mix(_mix(tokens_V + keys_B2[:, :1]).bitwise_xor_(keys_B2[:, 1:]))
    uniform_BV = (bits_BV >> 9).bitwise_and_(0x7FFFFF).float().mul_(2**-23).add_(2**-24)
    return uniform_BV.log_().neg_().log_().neg_()


def _keys(seed: int, position: int) -> tuple[int, int]:
    digest = hashlib.blake2b(struct.pack("<QQ", seed & (1 << 64) - 1, position), digest_size=8).digest()
    first, second = struct.unpack("<ii", digest)
    return first, second


def _mix(bits: Tensor) -> Tensor:
    """MurmurHash3's 32-bit finalizer, in place; int32 products wrap, and masks make the shifts logical."""
    bits ^= (bits >> 16).bitwise_and_(0xFFFF)
    bits *= FIRST_FACTOR
    bits ^= (bits >> 13).bitwise_and_(0x7FFFF)
    bits *= SECOND_FACTOR
    bits ^= (bits >> 16).bitwise_and_(0xFFFF)
    return bits
