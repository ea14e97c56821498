"""Who owns which block of the key/value cache, and which blocks hold a prefix that someone may want again.

Pure: no tensors, no clock. A block is ``block_size`` consecutive positions of a sequence. A full block is known by a
key that hangs together with everything before it (vLLM's hash chain: "Efficient Memory Management for Large Language
Model Serving with PagedAttention", arXiv 2309.06180), so that equal keys mean equal contents. Keys are 128-bit digests:
a collision would be a wrong answer.
"""

from __future__ import annotations

import hashlib
import struct
from collections import OrderedDict
from collections.abc import Sequence

BlockKey = bytes
"""Digest of a full block's tokens, the media under them, and everything before."""

KEY_BYTES = 16


def root_key(scope: str) -> BlockKey:
    """What the first block of every sequence of a scope hangs on: other scopes (tenants) never share a block."""
    return hashlib.blake2b(scope.encode(), digest_size=KEY_BYTES, person=b"trichord-scope").digest()


def block_key(before: BlockKey, token_ids: Sequence[int], media: Sequence[tuple[int, str]]) -> BlockKey:
    """Key of a full block behind ``before``.

    ``media`` holds, for each embedding whose rows reach into the block, the position of its first row relative to the
    block (it may be negative) and what it is: a digest of the rows, which no caller's claim enters.
    """
    digest = hashlib.blake2b(before, digest_size=KEY_BYTES)
    digest.update(struct.pack(f"<{len(token_ids)}i", *token_ids))
    for start, identity in media:
        digest.update(struct.pack("<ii", start, len(identity)) + identity.encode())
    return digest.digest()


class BlockManager:
    """``num_blocks`` blocks: free, free but still holding a known prefix, or held by one or more sequences."""

    def __init__(self, num_blocks: int, block_size: int) -> None:
        self.num_blocks, self.block_size = num_blocks, block_size
        self._blank = list(range(num_blocks - 1, -1, -1))
        self._reusable: OrderedDict[int, BlockKey] = OrderedDict()
        """Blocks that nobody holds and whose content is known, least recently used first."""
        self._num_holders: dict[int, int] = {}
        self._by_key: dict[BlockKey, int] = {}
        self._keys: dict[int, BlockKey] = {}

    @property
    def num_free_blocks(self) -> int:
        """Blocks that can be had now, those that hold a known prefix included."""
        return len(self._blank) + len(self._reusable)

    def num_blocks_for(self, num_tokens: int) -> int:
        """Blocks that so many positions take."""
        return -(-num_tokens // self.block_size)

    def take_prefix(self, keys: Sequence[BlockKey]) -> list[int]:
        """The blocks of the longest known prefix of ``keys``, now held once more."""
        blocks = []
        for key in keys:
            block = self._by_key.get(key)
            if block is None:
                break
            self._hold(block)
            blocks.append(block)
        return blocks

    def take(self, count: int) -> list[int]:
        """``count`` blocks of unknown content; the least recently used prefixes are forgotten when they are needed."""
        assert count <= self.num_free_blocks, "take no more blocks than are free"
        blocks = [self._blank.pop() if self._blank else self._forget_oldest() for _ in range(count)]
        for block in blocks:
            self._num_holders[block] = 1
        return blocks

    def publish(self, block: int, key: BlockKey) -> None:
        """Makes a held, completely written block known; if another is known by the key already, nothing changes."""
        assert block in self._num_holders, "only a held block is published"
        if key not in self._by_key and block not in self._keys:
            self._by_key[key], self._keys[block] = block, key

    def release(self, blocks: Sequence[int]) -> None:
        """Gives a sequence's blocks back. The tail becomes the first to be forgotten: prefixes live longer."""
        for block in reversed(blocks):
            self._num_holders[block] -= 1
            if self._num_holders[block]:
                continue
            del self._num_holders[block]
            if block in self._keys:
                self._reusable[block] = self._keys[block]
            else:
                self._blank.append(block)

    def check_integrity(self, tables: Sequence[Sequence[int]]) -> None:
        """Recounts every block against the block tables of all sequences."""
        held: dict[int, int] = {}
        for block in (block for table in tables for block in table):
            held[block] = held.get(block, 0) + 1
        assert held == self._num_holders, "blocks leaked or held twice"
        everywhere = sorted([*self._blank, *self._reusable, *held])
        assert everywhere == list(range(self.num_blocks)), "a block is lost or in two places"
        assert {key: block for block, key in self._keys.items()} == self._by_key, "keys and blocks do not agree"
        assert all(self._keys[block] == key for block, key in self._reusable.items()), "a reusable block is not known"

    def _hold(self, block: int) -> None:
        self._reusable.pop(block, None)
        self._num_holders[block] = self._num_holders.get(block, 0) + 1

    def _forget_oldest(self) -> int:
        block, key = self._reusable.popitem(last=False)
        del self._by_key[key], self._keys[block]
        return block
