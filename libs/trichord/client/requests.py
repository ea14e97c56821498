"""Arguments to requests of the contract. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf import duration_pb2
from pydantic import BaseModel

from trichord.client.options import ChatOptions, Degradation, Priority
from trichord.client.parts import Message, Part
from trichord.errors import RequestError
from trichord.v1 import decoder_pb2, gateway_pb2

_PRIORITIES: dict[Priority, decoder_pb2.Priority] = {
    "live": decoder_pb2.PRIORITY_LIVE,
    "batch": decoder_pb2.PRIORITY_BATCH,
}
_DEGRADATIONS: dict[Degradation, gateway_pb2.Degradation] = {
    "fail": gateway_pb2.DEGRADATION_FAIL,
    "wait": gateway_pb2.DEGRADATION_WAIT,
    "answer_without": gateway_pb2.DEGRADATION_ANSWER_WITHOUT,
}
PAGE_SIZE = 1000
"""Handles of one ListMedia call: the most that there may be."""

_NOT_SAMPLING = ("model", "request_id", "priority", "degradation")


def chat(
    messages: Iterable[Message], sampling: decoder_pb2.SamplingParams | None, options: ChatOptions
) -> gateway_pb2.ChatRequest:
    """A conversation to answer. Raises TypeError for sampling given twice, ValueError for a name that is none."""
    keywords = {name: value for name, value in options.items() if name not in _NOT_SAMPLING}
    if sampling is not None and keywords:
        raise TypeError(f"Sampling is given as SamplingParams or by keyword ({', '.join(keywords)}), not both.")
    return gateway_pb2.ChatRequest(
        request_id=options.get("request_id", ""),
        model=options.get("model", ""),
        messages=messages,
        sampling=_sampling(keywords) if keywords else sampling,
        priority=_PRIORITIES[options["priority"]] if "priority" in options else None,
        degradation=_DEGRADATIONS[options["degradation"]] if "degradation" in options else None,
    )


def put_media(part: Part, ttl_s: float | None) -> gateway_pb2.PutMediaRequest:
    """A medium to keep. Raises RequestError if the part is not the bytes of an image or a sound."""
    kind = part.WhichOneof("part")
    if kind not in ("image_bytes", "audio_bytes"):
        raise RequestError("Only the bytes of an image or a sound can be kept.", field="media")
    ttl = duration_pb2.Duration()
    if ttl_s is not None:
        ttl.FromMilliseconds(round(ttl_s * 1000))
    media = {kind: getattr(part, kind)}
    return gateway_pb2.PutMediaRequest(**media, ttl=None if ttl_s is None else ttl)


def _sampling(keywords: Mapping[str, Any]) -> decoder_pb2.SamplingParams:
    plain = {name: value for name, value in keywords.items() if not name.startswith("json_")}
    if isinstance(stop := plain.get("stop"), str):
        plain["stop"] = [stop]
    params = decoder_pb2.SamplingParams(**plain)
    if keywords.get("json_object"):
        params.response_format.json_object = True
    if "json_schema" in keywords:
        params.response_format.json_schema = json.dumps(_schema(keywords["json_schema"]))
    return params


def _schema(given: Mapping[str, Any] | type[BaseModel]) -> Mapping[str, Any]:
    return given.model_json_schema() if isinstance(given, type) else given
