"""Huge pages for what a step streams: with pages of 4 KiB, page walks take a third of the speed. Knows only addresses."""

from __future__ import annotations

import ctypes
import mmap

from torch import Tensor


def prefer_huge_pages(tensor: Tensor) -> None:
    """Asks the system to back the tensor's memory, so far untouched, by huge pages; it may decline."""
    page = mmap.PAGESIZE
    begin = -(-tensor.data_ptr() // page) * page
    length = (tensor.data_ptr() + tensor.nbytes - begin) // page * page
    if length > 0:
        ctypes.CDLL(None).madvise(ctypes.c_void_p(begin), ctypes.c_size_t(length), mmap.MADV_HUGEPAGE)
