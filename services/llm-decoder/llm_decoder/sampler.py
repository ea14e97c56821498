"""Which token comes next: penalties, temperature, truncation and a draw, vectorised over the batch.

A request with a seed draws from a generator of its own, so that its text does not depend on what else is in the batch.
Shapes: B sequences, V vocabulary. Knows nothing of the model, of text, or of when a sequence is over.
"""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from llm_decoder.request import Request


class Sampler:
    """Draws one token for each sequence; keeps a generator for each that is not greedy."""

    def __init__(self) -> None:
        self._generators: WeakKeyDictionary[Request, torch.Generator] = WeakKeyDictionary()

    @torch.inference_mode()
    def sample(self, logits_BV: Tensor, requests: Sequence[Request]) -> list[int]:
        """The next token of each sequence; ``logits_BV`` is float32 and is overwritten."""
        for row_V, request in zip(logits_BV, requests, strict=True):
            _penalise(row_V, request)
        drawing = [i for i, request in enumerate(requests) if request.sampling.temperature > 0]
        if drawing:
            drawn = [requests[i] for i in drawing]
            logits_BV[drawing] = truncate(logits_BV[drawing], drawn) + self._noise(drawn, logits_BV)
        return [int(token) for token in logits_BV.argmax(dim=-1).tolist()]

    def _noise(self, requests: Sequence[Request], like_BV: Tensor) -> Tensor:
        """Gumbel noise: the argmax of logits plus it is a draw from their softmax (Gumbel-max trick)."""
        noise_BV = torch.empty((len(requests), like_BV.shape[1]), dtype=torch.float32)
        for row_V, request in zip(noise_BV, requests, strict=True):
            row_V.exponential_(generator=self._generator(request))
        return -noise_BV.log_().to(like_BV.device)

    def _generator(self, request: Request) -> torch.Generator:
        if request not in self._generators:
            self._generators[request] = torch.Generator().manual_seed(request.sampling.seed)
        return self._generators[request]


def _penalise(row_V: Tensor, request: Request) -> None:
    sampling = request.sampling
    if sampling.repetition_penalty != 1:
        seen = torch.tensor(sorted({*request.prompt_ids, *request.output_counts}), device=row_V.device)
        score = row_V[seen]
        penalty = sampling.repetition_penalty  # CTRL, arXiv 1909.05858
        row_V[seen] = torch.where(score > 0, score / penalty, score * penalty)
    if request.output_counts and (sampling.presence_penalty or sampling.frequency_penalty):
        ids = torch.tensor(list(request.output_counts), device=row_V.device)
        counts = torch.tensor(list(request.output_counts.values()), dtype=torch.float32, device=row_V.device)
        row_V[ids] -= sampling.presence_penalty + sampling.frequency_penalty * counts
    if request.bans_stop_tokens and not sampling.ignore_eos:
        row_V[list(request.stop_token_ids)] = -torch.inf


def truncate(logits_BV: Tensor, requests: Sequence[Request]) -> Tensor:
    """Logits divided by temperature, with -inf where top-k, top-p or min-p drop a token; the likeliest always stays.

    In this order: temperature, top-k, top-p (arXiv 1904.09751), min-p (arXiv 2407.01082).
    """

    def column(values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=logits_BV.device)[:, None]

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
