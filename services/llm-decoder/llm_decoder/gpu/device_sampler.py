"""``sampler.Sampler`` without a word from the host: what it chooses stays on the device, and the host reads it later.

Which tokens a sequence has seen, and how often it said them, are tables on the device, so that penalties need no ids
from the host. Knows logits and sampling parameters; knows nothing of the model or of when a sequence is over.

Shapes: B sequences, V vocabulary, R rows of the tables, T sequences that tell log-probabilities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from llm_decoder.gpu.token_tables import TokenTables, penalises
from llm_decoder.request import Request
from llm_decoder.sampler import Cells, Sampled, constrain, noise, truncate
from llm_decoder.transfer import Readback, upload


@dataclass(frozen=True)
class Told:
    """Log-probabilities of the sequences that asked for them, before any change."""

    chosen_T: Tensor
    rivals_TC: Tensor
    rival_ids_TC: Tensor


class Drawn:
    """The next token of each of some sequences: on the device now, on the host after a wait."""

    def __init__(self, tokens_B: Tensor, requests: Sequence[Request], telling: Sequence[int], told: Told | None):
        self.tokens_B, self._requests, self._telling = tokens_B, requests, telling
        told_parts = [told.chosen_T, told.rivals_TC, told.rival_ids_TC] if told else []
        self._readback = Readback([tokens_B, *told_parts])

    def wait(self) -> list[Sampled]:
        """What was drawn, when the device has come so far."""
        tokens_B, *told = (tensor.tolist() for tensor in self._readback.wait())
        logprobs: list[Sequence[Mapping[int, float]]] = [()] * len(tokens_B)
        for i, chosen, rivals, ids in zip(self._telling, *told, strict=True) if told else ():
            count = self._requests[i].sampling.logprobs or 0
            logprobs[i] = [{tokens_B[i]: chosen, **dict(zip(ids[:count], rivals[:count], strict=True))}]
        return [Sampled(*pair) for pair in zip(tokens_B, logprobs, strict=True)]


class DeviceSampler:
    """Draws one token for each of at most ``max_sequences`` sequences; the same as ``Sampler`` from the same logits."""

    def __init__(self, vocab_size: int, max_sequences: int, device: torch.device | str) -> None:
        self._tables = TokenTables(vocab_size, max_sequences, device)

    @torch.inference_mode()
    def sample(self, logits_BV: Tensor, requests: Sequence[Request]) -> Drawn:
        """The next token of each sequence; ``logits_BV`` is float32 and is overwritten."""
        telling = [i for i, request in enumerate(requests) if request.sampling.logprobs is not None]
        told_TV = _rows(logits_BV, telling).log_softmax(dim=-1) if telling else logits_BV[:0]
        constrain(logits_BV, requests)
        is_penalised = any(penalises(request) for request in requests)
        if is_penalised:
            logits_BV = self._tables.penalised(logits_BV, requests)
        _shift(logits_BV, requests)
        tokens_B = _perturbed(logits_BV, requests).argmax(dim=-1)
        if is_penalised:
            self._tables.add(tokens_B, requests)
        return Drawn(tokens_B, requests, telling, _told(told_TV, tokens_B, telling, requests))


def _rows(logits_BV: Tensor, rows: Sequence[int]) -> Tensor:
    return logits_BV if len(rows) == len(logits_BV) else logits_BV.index_select(0, _index(rows, logits_BV.device))


def _index(rows: Sequence[int], device: torch.device) -> Tensor:
    return upload(torch.tensor(rows, dtype=torch.int64), device)


def _shift(logits_BV: Tensor, requests: Sequence[Request]) -> None:
    """Bias and bans, in place."""
    shifted = Cells([], [], [])
    for row, request in enumerate(requests):
        if bias := request.sampling.logit_bias:
            shifted.add(row, list(bias), list(bias.values()))
        if request.bans_stop_tokens:
            shifted.add(row, list(request.stop_token_ids), [-torch.inf] * len(request.stop_token_ids))
    if shifted.rows:
        cells, value = shifted.tensors(logits_BV.device)
        logits_BV.index_put_(cells, value, accumulate=True)


def _perturbed(logits_BV: Tensor, requests: Sequence[Request]) -> Tensor:
    """Logits whose argmax is what each sequence draws."""
    drawing = [i for i, request in enumerate(requests) if request.sampling.temperature > 0]
    if not drawing:
        return logits_BV
    drawn = [requests[i] for i in drawing]
    changed_BV = truncate(_rows(logits_BV, drawing), drawn) + noise(drawn, logits_BV)
    if len(drawing) == len(requests):
        return changed_BV
    return logits_BV.index_copy_(0, _index(drawing, logits_BV.device), changed_BV)


def _told(told_TV: Tensor, tokens_B: Tensor, telling: Sequence[int], requests: Sequence[Request]) -> Told | None:
    if not telling:
        return None
    chosen_T1 = told_TV.gather(1, _rows(tokens_B, telling)[:, None])
    most = max(requests[i].sampling.logprobs or 0 for i in telling)
    return Told(chosen_T1[:, 0], *told_TV.topk(most, dim=-1))
