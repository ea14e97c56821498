"""Which token comes next: penalties, bias, temperature, truncation and a draw, vectorised over the batch.

A request draws noise of its own seed and position, so that its text does not depend on what else is in the batch.
Shapes: B sequences, V vocabulary. Knows nothing of the model, of text, or of when a sequence is over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from llm_decoder.noise import gumbel
from llm_decoder.request import Request
from llm_decoder.transfer import upload
from trichord.errors import TrichordError


class Sampled(NamedTuple):
    """A token, and what was asked to be told of it."""

    token_id: int
    logprobs: Sequence[Mapping[int, float]]
    """Log-probabilities of the token and its likeliest rivals, before temperature; empty if not asked for."""


def argmax(logits_BV: Tensor) -> list[int]:
    """The likeliest token of each row, the first of equals."""
    token_ids: list[int] = logits_BV.cpu().numpy().argmax(axis=-1).tolist()  # six times as fast as torch's on a CPU
    return token_ids


class Sampler:
    """Draws one token for each sequence; keeps nothing between steps."""

    def __init__(self, likeliest: Callable[[Tensor], list[int]] = argmax) -> None:
        """``likeliest`` is asked instead of ``argmax`` where logits are still as they came: it may know them."""
        self._likeliest = likeliest

    @torch.inference_mode()
    def sample(self, logits_BV: Tensor, requests: Sequence[Request]) -> list[Sampled]:
        """The next token of each sequence; ``logits_BV`` is float32 and is overwritten."""
        telling = [i for i, request in enumerate(requests) if request.sampling.logprobs is not None]
        told_BV = logits_BV[telling].log_softmax(dim=-1) if telling else logits_BV[:0]
        is_changed = _penalise(logits_BV, requests)
        drawing = [i for i, request in enumerate(requests) if request.sampling.temperature > 0]
        if drawing:
            drawn = [requests[i] for i in drawing]
            # The argmax of logits plus Gumbel noise is a draw from their softmax (Gumbel-max trick).
            logits_BV[drawing] = truncate(logits_BV[drawing], drawn) + noise(drawn, logits_BV)
        token_ids = (argmax if is_changed or drawing else self._likeliest)(logits_BV)
        logprobs: list[Sequence[Mapping[int, float]]] = [()] * len(requests)
        for row_V, i in zip(told_BV, telling, strict=True):
            logprobs[i] = [_told(row_V, token_ids[i], requests[i].sampling.logprobs or 0)]
        return [Sampled(*pair) for pair in zip(token_ids, logprobs, strict=True)]


def noise(requests: Sequence[Request], like_BV: Tensor) -> Tensor:
    """Gumbel noise for the next token of each sequence, on the device of ``like_BV``."""
    draws = [(request.sampling.seed, request.num_output_tokens) for request in requests]
    return gumbel(draws, like_BV.shape[1], like_BV.device)


def _told(logprobs_V: Tensor, token_id: int, count: int) -> dict[int, float]:
    """The chosen token first, then the ``count`` likeliest."""
    values, ids = logprobs_V.topk(count)
    return {token_id: float(logprobs_V[token_id]), **dict(zip(ids.tolist(), values.tolist(), strict=True))}


class Cells(NamedTuple):
    """Single logits of a batch, and a number for each."""

    rows: list[int]
    token_ids: list[int]
    values: list[float]

    def add(self, row: int, token_ids: Sequence[int], values: Sequence[float]) -> None:
        """A value for each of some tokens of a row."""
        self.rows.extend([row] * len(token_ids))
        self.token_ids.extend(token_ids)
        self.values.extend(values)

    def tensors(self, device: torch.device) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """Their places and values, on ``device``."""
        rows, token_ids = upload(torch.tensor([self.rows, self.token_ids]), device)
        return (rows, token_ids), upload(torch.tensor(self.values, dtype=torch.float32), device)


def _penalise(logits_BV: Tensor, requests: Sequence[Request]) -> bool:
    """Penalties, bias, bans and masks, in place; whether there were any."""
    repeated, shifted, banned = Cells([], [], []), Cells([], [], []), Cells([], [], [])
    for row, request in enumerate(requests):
        sampling = request.sampling
        if sampling.repetition_penalty != 1:
            seen = sorted({*request.prompt_ids, *request.output_counts})
            repeated.add(row, seen, [sampling.repetition_penalty] * len(seen))
        if sampling.presence_penalty or sampling.frequency_penalty:
            counts = request.output_counts
            shift = [-sampling.presence_penalty - sampling.frequency_penalty * n for n in counts.values()]
            shifted.add(row, list(counts), shift)
        if sampling.logit_bias:
            shifted.add(row, list(sampling.logit_bias), list(sampling.logit_bias.values()))
        if request.bans_stop_tokens:
            banned.add(row, list(request.stop_token_ids), [-torch.inf] * len(request.stop_token_ids))
    is_constrained = constrain(logits_BV, requests)
    if repeated.rows:
        cells, penalty = repeated.tensors(logits_BV.device)
        score = logits_BV[cells]
        logits_BV[cells] = torch.where(score > 0, score / penalty, score * penalty)  # CTRL, arXiv 1909.05858
    for change in (shifted, banned):
        if change.rows:
            cells, value = change.tensors(logits_BV.device)
            logits_BV.index_put_(cells, value, accumulate=True)
    return is_constrained or any(change.rows for change in (repeated, shifted, banned))


def constrain(logits_BV: Tensor, requests: Sequence[Request]) -> bool:
    """-inf, in place, for what constrained sequences may not say next, and nothing else; whether there are any."""
    rows = [row for row, request in enumerate(requests) if request.allowed_tokens is not None]
    if rows:
        allowed_CV = torch.stack([allowed_tokens(requests[row], logits_BV.shape[1]) for row in rows])
        index_C = upload(torch.tensor(rows), logits_BV.device)
        logits_BV[index_C] = logits_BV[index_C].masked_fill_(~upload(allowed_CV, logits_BV.device), -torch.inf)
    return bool(rows)


def allowed_tokens(request: Request, vocab_size: int) -> Tensor:
    """A bool mask [V] of what may come next; everything, if the sequence is about to fail with ``request.error``."""
    assert request.allowed_tokens is not None
    try:
        return request.allowed_tokens(request.output_ids)
    except TrichordError as error:
        request.error = error
        return torch.ones(vocab_size, dtype=torch.bool)


def truncate(logits_BV: Tensor, requests: Sequence[Request]) -> Tensor:
    """Logits divided by temperature, with -inf where top-k, top-p or min-p drop a token; the likeliest always stays.

    In this order: temperature, top-k, top-p (arXiv 1904.09751), min-p (arXiv 2407.01082).
    """

    def column(values: Sequence[float]) -> Tensor:
        return upload(torch.tensor(values, dtype=torch.float32)[:, None], logits_BV.device)

    logits_BV = logits_BV / column([request.sampling.temperature for request in requests])
    if all(_keeps_everything(request) for request in requests):
        return logits_BV
    num_tokens = logits_BV.shape[1]
    sorted_BV, order_BV = logits_BV.sort(dim=-1, descending=True)
    top_k_B1 = column([request.sampling.top_k or num_tokens for request in requests])
    sorted_BV = sorted_BV.masked_fill(torch.arange(num_tokens, device=logits_BV.device) >= top_k_B1, -torch.inf)
    likely_BV = sorted_BV.softmax(dim=-1)
    before_BV = likely_BV.cumsum(dim=-1) - likely_BV
    dropped_BV = before_BV >= column([request.sampling.top_p for request in requests])
    dropped_BV |= likely_BV < likely_BV[:, :1] * column([request.sampling.min_p for request in requests])
    dropped_BV[:, 0] = False
    return torch.empty_like(logits_BV).scatter_(1, order_BV, sorted_BV.masked_fill(dropped_BV, -torch.inf))


def _keeps_everything(request: Request) -> bool:
    sampling = request.sampling
    return not sampling.top_k and sampling.top_p >= 1 and not sampling.min_p
