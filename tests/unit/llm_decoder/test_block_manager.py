"""The block manager against a model that is too simple to be wrong, over random histories."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_decoder.block_manager import BlockManager, block_key, root_key

BLOCK_SIZE = 4


def keys_of(token_ids, scope="", media=()):
    keys, before = [], root_key(scope)
    for start in range(0, len(token_ids) - BLOCK_SIZE + 1, BLOCK_SIZE):
        before = block_key(before, token_ids[start : start + BLOCK_SIZE], media)
        keys.append(before)
    return keys


prompts = st.lists(st.integers(0, 1), min_size=1, max_size=24)
histories = st.lists(st.tuples(prompts, st.integers(0, 5)), min_size=1, max_size=40)


@settings(max_examples=1000, deadline=None)
@given(history=histories, num_blocks=st.integers(6, 14))
def test_blocks_balance_and_a_prefix_is_only_ever_what_was_written(history, num_blocks):
    manager = BlockManager(num_blocks, BLOCK_SIZE)
    written: dict[int, tuple[int, ...]] = {}  # the whole sequence up to and including each block
    live: list[list[int]] = []
    for prompt, num_to_release in history:
        for _ in range(min(num_to_release, len(live))):
            manager.release(live.pop(0))
        keys = keys_of(prompt)
        table = manager.take_prefix(keys)
        for i, block in enumerate(table):
            assert written[block] == tuple(prompt[: (i + 1) * BLOCK_SIZE]), "a hit holds another sequence"
        needed = manager.num_blocks_for(len(prompt)) - len(table)
        if needed > manager.num_free_blocks:
            manager.release(table)
        else:
            fresh = manager.take(needed)
            assert not {block for other in live for block in other} & set(fresh), "a held block was handed out"
            table += fresh
            for i in range(len(keys)):
                if table[i] in fresh:
                    written[table[i]] = tuple(prompt[: (i + 1) * BLOCK_SIZE])
                    manager.publish(table[i], keys[i])
            live.append(table)
        manager.check_integrity(live)
    for table in live:
        manager.release(table)
    manager.check_integrity([])
    assert manager.num_free_blocks == num_blocks


def test_a_released_prefix_is_found_again_until_its_room_is_needed():
    manager = BlockManager(4, BLOCK_SIZE)
    keys = keys_of(range(8))
    table = manager.take(2)
    for block, key in zip(table, keys, strict=True):
        manager.publish(block, key)
    manager.release(table)

    assert manager.take_prefix(keys) == table
    manager.release(table)
    manager.take(3)  # two blank blocks, and the tail of the prefix
    assert manager.take_prefix(keys) == table[:1]


def test_two_sequences_share_one_copy():
    manager = BlockManager(3, BLOCK_SIZE)
    keys = keys_of(range(4))
    first = manager.take(1)
    manager.publish(first[0], keys[0])
    second = manager.take_prefix(keys)
    assert second == first
    manager.release(first)
    assert manager.num_free_blocks == 2, "the other sequence still holds it"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param({"scope": "tenant-a"}, {"scope": "tenant-b"}, id="tenants"),
        pytest.param({"media": [(0, "image-a")]}, {"media": [(0, "image-b")]}, id="images"),
        pytest.param({"media": [(0, "image-a")]}, {"media": [(1, "image-a")]}, id="places of an image"),
        pytest.param({"media": [(0, "image-a")]}, {}, id="image or text"),
        pytest.param({"media": [(0, "ab"), (1, "c")]}, {"media": [(0, "a"), (1, "bc")]}, id="splits of identities"),
    ],
)
def test_what_differs_has_another_key(one, other):
    assert keys_of([7, 7, 7, 7], **one) != keys_of([7, 7, 7, 7], **other)


def test_a_key_hangs_on_everything_before():
    assert keys_of([1, 2, 3, 4, 5, 6, 7, 8])[1] != keys_of([9, 2, 3, 4, 5, 6, 7, 8])[1]
