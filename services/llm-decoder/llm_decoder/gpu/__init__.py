"""The GPU path: fused weights, kernels, recorded decode steps, and a loop that is always one step ahead.

::

    starting.py           a model, a device and a cache's size in; an engine out
    overlapped_engine.py  the loop: schedules a step while the device computes the one before
    device_sampler.py     chooses tokens without the host
    token_tables.py       what sequences have seen, on the device
    gpu_runner.py         scheduled tokens to embeddings
    cuda_forward.py       a step: recorded if it only decodes
    decode_graph.py       static buffers of a bucket, padding, replay
    fused_llama.py        the model in few matrix products
    ops.py                what lies between these: the seam to the device
    torch_ops.py          ... in plain torch, anywhere
    triton_ops.py         ... by kernels in Triton-lang
    attention_kernels.py  paged attention
    row_kernels.py        norms, rotary positions, gates
    plan.py               indices of a step, and how attention is cut into programs

Everything runs on the CPU too, which is how it is tested where there is no GPU. docs/gpu.md says what is unmeasured.
"""
