import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from trichord.v1 import decoder_pb2 as _decoder_pb2
from trichord.v1 import tensor_pb2 as _tensor_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Degradation(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DEGRADATION_UNSPECIFIED: _ClassVar[Degradation]
    DEGRADATION_FAIL: _ClassVar[Degradation]
    DEGRADATION_WAIT: _ClassVar[Degradation]
    DEGRADATION_ANSWER_WITHOUT: _ClassVar[Degradation]

class EmbeddingSource(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EMBEDDING_SOURCE_UNSPECIFIED: _ClassVar[EmbeddingSource]
    EMBEDDING_SOURCE_ENCODED: _ClassVar[EmbeddingSource]
    EMBEDDING_SOURCE_STORE: _ClassVar[EmbeddingSource]
    EMBEDDING_SOURCE_SHARED: _ClassVar[EmbeddingSource]
DEGRADATION_UNSPECIFIED: Degradation
DEGRADATION_FAIL: Degradation
DEGRADATION_WAIT: Degradation
DEGRADATION_ANSWER_WITHOUT: Degradation
EMBEDDING_SOURCE_UNSPECIFIED: EmbeddingSource
EMBEDDING_SOURCE_ENCODED: EmbeddingSource
EMBEDDING_SOURCE_STORE: EmbeddingSource
EMBEDDING_SOURCE_SHARED: EmbeddingSource

class Part(_message.Message):
    __slots__ = ("text", "image_bytes", "image_url", "audio_bytes", "media_handle", "embedding")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    IMAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    IMAGE_URL_FIELD_NUMBER: _ClassVar[int]
    AUDIO_BYTES_FIELD_NUMBER: _ClassVar[int]
    MEDIA_HANDLE_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    text: str
    image_bytes: bytes
    image_url: str
    audio_bytes: bytes
    media_handle: str
    embedding: _tensor_pb2.Embedding
    def __init__(self, text: _Optional[str] = ..., image_bytes: _Optional[bytes] = ..., image_url: _Optional[str] = ..., audio_bytes: _Optional[bytes] = ..., media_handle: _Optional[str] = ..., embedding: _Optional[_Union[_tensor_pb2.Embedding, _Mapping]] = ...) -> None: ...

class Message(_message.Message):
    __slots__ = ("role", "parts")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    role: _decoder_pb2.Role
    parts: _containers.RepeatedCompositeFieldContainer[Part]
    def __init__(self, role: _Optional[_Union[_decoder_pb2.Role, str]] = ..., parts: _Optional[_Iterable[_Union[Part, _Mapping]]] = ...) -> None: ...

class ChatRequest(_message.Message):
    __slots__ = ("request_id", "model", "messages", "sampling", "priority", "degradation")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    DEGRADATION_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model: str
    messages: _containers.RepeatedCompositeFieldContainer[Message]
    sampling: _decoder_pb2.SamplingParams
    priority: _decoder_pb2.Priority
    degradation: Degradation
    def __init__(self, request_id: _Optional[str] = ..., model: _Optional[str] = ..., messages: _Optional[_Iterable[_Union[Message, _Mapping]]] = ..., sampling: _Optional[_Union[_decoder_pb2.SamplingParams, _Mapping]] = ..., priority: _Optional[_Union[_decoder_pb2.Priority, str]] = ..., degradation: _Optional[_Union[Degradation, str]] = ...) -> None: ...

class ChatResponse(_message.Message):
    __slots__ = ("started", "item_encoded", "token", "finished", "item_skipped", "waiting")
    STARTED_FIELD_NUMBER: _ClassVar[int]
    ITEM_ENCODED_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    ITEM_SKIPPED_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    started: ChatStarted
    item_encoded: ItemEncoded
    token: ChatToken
    finished: ChatFinished
    item_skipped: ItemSkipped
    waiting: Waiting
    def __init__(self, started: _Optional[_Union[ChatStarted, _Mapping]] = ..., item_encoded: _Optional[_Union[ItemEncoded, _Mapping]] = ..., token: _Optional[_Union[ChatToken, _Mapping]] = ..., finished: _Optional[_Union[ChatFinished, _Mapping]] = ..., item_skipped: _Optional[_Union[ItemSkipped, _Mapping]] = ..., waiting: _Optional[_Union[Waiting, _Mapping]] = ...) -> None: ...

class Waiting(_message.Message):
    __slots__ = ("modality", "reason", "estimated_seconds", "position")
    MODALITY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_SECONDS_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    modality: _tensor_pb2.Modality
    reason: str
    estimated_seconds: float
    position: int
    def __init__(self, modality: _Optional[_Union[_tensor_pb2.Modality, str]] = ..., reason: _Optional[str] = ..., estimated_seconds: _Optional[float] = ..., position: _Optional[int] = ...) -> None: ...

class ItemSkipped(_message.Message):
    __slots__ = ("message_index", "part_index", "reason")
    MESSAGE_INDEX_FIELD_NUMBER: _ClassVar[int]
    PART_INDEX_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    message_index: int
    part_index: int
    reason: str
    def __init__(self, message_index: _Optional[int] = ..., part_index: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class ChatStarted(_message.Message):
    __slots__ = ("request_id", "model")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model: str
    def __init__(self, request_id: _Optional[str] = ..., model: _Optional[str] = ...) -> None: ...

class ItemEncoded(_message.Message):
    __slots__ = ("message_index", "part_index", "receipt")
    MESSAGE_INDEX_FIELD_NUMBER: _ClassVar[int]
    PART_INDEX_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    message_index: int
    part_index: int
    receipt: ItemReceipt
    def __init__(self, message_index: _Optional[int] = ..., part_index: _Optional[int] = ..., receipt: _Optional[_Union[ItemReceipt, _Mapping]] = ...) -> None: ...

class ChatToken(_message.Message):
    __slots__ = ("text", "token_ids", "sample", "logprobs")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    TOKEN_IDS_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_FIELD_NUMBER: _ClassVar[int]
    LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    text: str
    token_ids: _containers.RepeatedScalarFieldContainer[int]
    sample: int
    logprobs: _containers.RepeatedCompositeFieldContainer[_decoder_pb2.TokenLogprobs]
    def __init__(self, text: _Optional[str] = ..., token_ids: _Optional[_Iterable[int]] = ..., sample: _Optional[int] = ..., logprobs: _Optional[_Iterable[_Union[_decoder_pb2.TokenLogprobs, _Mapping]]] = ...) -> None: ...

class ChatFinished(_message.Message):
    __slots__ = ("reason", "usage", "receipt", "samples")
    REASON_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    reason: _decoder_pb2.FinishReason
    usage: Usage
    receipt: StageReceipt
    samples: _containers.RepeatedCompositeFieldContainer[_decoder_pb2.SampleFinished]
    def __init__(self, reason: _Optional[_Union[_decoder_pb2.FinishReason, str]] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ..., receipt: _Optional[_Union[StageReceipt, _Mapping]] = ..., samples: _Optional[_Iterable[_Union[_decoder_pb2.SampleFinished, _Mapping]]] = ...) -> None: ...

class Usage(_message.Message):
    __slots__ = ("prompt_tokens", "completion_tokens", "images", "image_tiles", "audio_seconds", "cache_hits", "cached_tokens")
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COMPLETION_TOKENS_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    IMAGE_TILES_FIELD_NUMBER: _ClassVar[int]
    AUDIO_SECONDS_FIELD_NUMBER: _ClassVar[int]
    CACHE_HITS_FIELD_NUMBER: _ClassVar[int]
    CACHED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    prompt_tokens: _decoder_pb2.PromptTokens
    completion_tokens: int
    images: int
    image_tiles: int
    audio_seconds: float
    cache_hits: int
    cached_tokens: int
    def __init__(self, prompt_tokens: _Optional[_Union[_decoder_pb2.PromptTokens, _Mapping]] = ..., completion_tokens: _Optional[int] = ..., images: _Optional[int] = ..., image_tiles: _Optional[int] = ..., audio_seconds: _Optional[float] = ..., cache_hits: _Optional[int] = ..., cached_tokens: _Optional[int] = ...) -> None: ...

class ItemReceipt(_message.Message):
    __slots__ = ("modality", "message_index", "part_index", "fetch_ms", "queue_ms", "decode_ms", "encode_ms", "transfer_ms", "tokens", "units", "store_ms", "source", "wake_ms")
    MODALITY_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_INDEX_FIELD_NUMBER: _ClassVar[int]
    PART_INDEX_FIELD_NUMBER: _ClassVar[int]
    FETCH_MS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_MS_FIELD_NUMBER: _ClassVar[int]
    DECODE_MS_FIELD_NUMBER: _ClassVar[int]
    ENCODE_MS_FIELD_NUMBER: _ClassVar[int]
    TRANSFER_MS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    STORE_MS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    WAKE_MS_FIELD_NUMBER: _ClassVar[int]
    modality: _tensor_pb2.Modality
    message_index: int
    part_index: int
    fetch_ms: float
    queue_ms: float
    decode_ms: float
    encode_ms: float
    transfer_ms: float
    tokens: int
    units: int
    store_ms: float
    source: EmbeddingSource
    wake_ms: float
    def __init__(self, modality: _Optional[_Union[_tensor_pb2.Modality, str]] = ..., message_index: _Optional[int] = ..., part_index: _Optional[int] = ..., fetch_ms: _Optional[float] = ..., queue_ms: _Optional[float] = ..., decode_ms: _Optional[float] = ..., encode_ms: _Optional[float] = ..., transfer_ms: _Optional[float] = ..., tokens: _Optional[int] = ..., units: _Optional[int] = ..., store_ms: _Optional[float] = ..., source: _Optional[_Union[EmbeddingSource, str]] = ..., wake_ms: _Optional[float] = ...) -> None: ...

class StageReceipt(_message.Message):
    __slots__ = ("trace_id", "admit_ms", "encode_ms", "merge_ms", "decoder", "first_token_ms", "total_ms", "items", "queue_ms")
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    ADMIT_MS_FIELD_NUMBER: _ClassVar[int]
    ENCODE_MS_FIELD_NUMBER: _ClassVar[int]
    MERGE_MS_FIELD_NUMBER: _ClassVar[int]
    DECODER_FIELD_NUMBER: _ClassVar[int]
    FIRST_TOKEN_MS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_MS_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_MS_FIELD_NUMBER: _ClassVar[int]
    trace_id: str
    admit_ms: float
    encode_ms: float
    merge_ms: float
    decoder: _decoder_pb2.GenerateTimings
    first_token_ms: float
    total_ms: float
    items: _containers.RepeatedCompositeFieldContainer[ItemReceipt]
    queue_ms: float
    def __init__(self, trace_id: _Optional[str] = ..., admit_ms: _Optional[float] = ..., encode_ms: _Optional[float] = ..., merge_ms: _Optional[float] = ..., decoder: _Optional[_Union[_decoder_pb2.GenerateTimings, _Mapping]] = ..., first_token_ms: _Optional[float] = ..., total_ms: _Optional[float] = ..., items: _Optional[_Iterable[_Union[ItemReceipt, _Mapping]]] = ..., queue_ms: _Optional[float] = ...) -> None: ...

class PutMediaRequest(_message.Message):
    __slots__ = ("image_bytes", "audio_bytes", "ttl")
    IMAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    AUDIO_BYTES_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    image_bytes: bytes
    audio_bytes: bytes
    ttl: _duration_pb2.Duration
    def __init__(self, image_bytes: _Optional[bytes] = ..., audio_bytes: _Optional[bytes] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class PutMediaResponse(_message.Message):
    __slots__ = ("media_handle", "expire_time", "content_sha256")
    MEDIA_HANDLE_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    CONTENT_SHA256_FIELD_NUMBER: _ClassVar[int]
    media_handle: str
    expire_time: _timestamp_pb2.Timestamp
    content_sha256: str
    def __init__(self, media_handle: _Optional[str] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., content_sha256: _Optional[str] = ...) -> None: ...

class ListMediaRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListMediaResponse(_message.Message):
    __slots__ = ("media", "next_page_token")
    MEDIA_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    media: _containers.RepeatedCompositeFieldContainer[StoredMedia]
    next_page_token: str
    def __init__(self, media: _Optional[_Iterable[_Union[StoredMedia, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class StoredMedia(_message.Message):
    __slots__ = ("media_handle", "modality", "num_bytes", "content_sha256", "expire_time")
    MEDIA_HANDLE_FIELD_NUMBER: _ClassVar[int]
    MODALITY_FIELD_NUMBER: _ClassVar[int]
    NUM_BYTES_FIELD_NUMBER: _ClassVar[int]
    CONTENT_SHA256_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    media_handle: str
    modality: _tensor_pb2.Modality
    num_bytes: int
    content_sha256: str
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, media_handle: _Optional[str] = ..., modality: _Optional[_Union[_tensor_pb2.Modality, str]] = ..., num_bytes: _Optional[int] = ..., content_sha256: _Optional[str] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class DeleteMediaRequest(_message.Message):
    __slots__ = ("media_handle",)
    MEDIA_HANDLE_FIELD_NUMBER: _ClassVar[int]
    media_handle: str
    def __init__(self, media_handle: _Optional[str] = ...) -> None: ...

class DeleteMediaResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class EncodeRequest(_message.Message):
    __slots__ = ("part",)
    PART_FIELD_NUMBER: _ClassVar[int]
    part: Part
    def __init__(self, part: _Optional[_Union[Part, _Mapping]] = ...) -> None: ...

class EncodeResponse(_message.Message):
    __slots__ = ("embedding", "receipt")
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    embedding: _tensor_pb2.Embedding
    receipt: ItemReceipt
    def __init__(self, embedding: _Optional[_Union[_tensor_pb2.Embedding, _Mapping]] = ..., receipt: _Optional[_Union[ItemReceipt, _Mapping]] = ...) -> None: ...

class OmniServiceCountTokensRequest(_message.Message):
    __slots__ = ("model", "messages")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    model: str
    messages: _containers.RepeatedCompositeFieldContainer[Message]
    def __init__(self, model: _Optional[str] = ..., messages: _Optional[_Iterable[_Union[Message, _Mapping]]] = ...) -> None: ...

class OmniServiceCountTokensResponse(_message.Message):
    __slots__ = ("prompt_tokens", "context_tokens")
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    prompt_tokens: _decoder_pb2.PromptTokens
    context_tokens: int
    def __init__(self, prompt_tokens: _Optional[_Union[_decoder_pb2.PromptTokens, _Mapping]] = ..., context_tokens: _Optional[int] = ...) -> None: ...

class OmniServiceGetModelRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class OmniServiceGetModelResponse(_message.Message):
    __slots__ = ("model", "context_tokens", "max_images", "max_audios", "max_request_bytes")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MAX_IMAGES_FIELD_NUMBER: _ClassVar[int]
    MAX_AUDIOS_FIELD_NUMBER: _ClassVar[int]
    MAX_REQUEST_BYTES_FIELD_NUMBER: _ClassVar[int]
    model: str
    context_tokens: int
    max_images: int
    max_audios: int
    max_request_bytes: int
    def __init__(self, model: _Optional[str] = ..., context_tokens: _Optional[int] = ..., max_images: _Optional[int] = ..., max_audios: _Optional[int] = ..., max_request_bytes: _Optional[int] = ...) -> None: ...
