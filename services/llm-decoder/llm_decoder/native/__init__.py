"""The CPU path: a whole step of the LLaMA in one call of a C++ library, compiled where it runs, once.

::

    step.py       NativeStep: a model, a paged cache, and the call
    packing.py    weights in the order that the kernels read them
    build.py      the library: compiled, kept, loaded, or why not
    step.cpp      the layers, one after another
    panels.h      products with packed weights, bf16 and int8
    attention.h   the paged cache and attention over it
    ahead.h       what attention will read, asked for before it does
    batch.h       what a step is asked, and the check of it
    rows.h        scratch memory
    product.h     a matrix times rows, as tasks of a team
    seats.h       who does which task of which phase, though threads lose their cores
    team.h        the threads
    vectors.h     sixteen floats at a time
"""
