from trichord.v1 import tensor_pb2 as _tensor_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EncodeAudioRequest(_message.Message):
    __slots__ = ("audio",)
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    audio: bytes
    def __init__(self, audio: _Optional[bytes] = ...) -> None: ...

class EncodeAudioResponse(_message.Message):
    __slots__ = ("embedding", "timings")
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    embedding: _tensor_pb2.Embedding
    timings: _tensor_pb2.EncodeTimings
    def __init__(self, embedding: _Optional[_Union[_tensor_pb2.Embedding, _Mapping]] = ..., timings: _Optional[_Union[_tensor_pb2.EncodeTimings, _Mapping]] = ...) -> None: ...

class PcmFormat(_message.Message):
    __slots__ = ("sample_rate", "channels")
    SAMPLE_RATE_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    sample_rate: int
    channels: int
    def __init__(self, sample_rate: _Optional[int] = ..., channels: _Optional[int] = ...) -> None: ...

class StreamAudioRequest(_message.Message):
    __slots__ = ("format", "pcm_s16le")
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    PCM_S16LE_FIELD_NUMBER: _ClassVar[int]
    format: PcmFormat
    pcm_s16le: bytes
    def __init__(self, format: _Optional[_Union[PcmFormat, _Mapping]] = ..., pcm_s16le: _Optional[bytes] = ...) -> None: ...

class StreamAudioResponse(_message.Message):
    __slots__ = ("embedding", "timings")
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    embedding: _tensor_pb2.Embedding
    timings: _tensor_pb2.EncodeTimings
    def __init__(self, embedding: _Optional[_Union[_tensor_pb2.Embedding, _Mapping]] = ..., timings: _Optional[_Union[_tensor_pb2.EncodeTimings, _Mapping]] = ...) -> None: ...

class AudioEncoderServiceGetModelRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AudioEncoderServiceGetModelResponse(_message.Message):
    __slots__ = ("model", "fingerprint", "hidden_size", "max_audio_bytes", "max_audio_seconds")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    HIDDEN_SIZE_FIELD_NUMBER: _ClassVar[int]
    MAX_AUDIO_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_AUDIO_SECONDS_FIELD_NUMBER: _ClassVar[int]
    model: str
    fingerprint: str
    hidden_size: int
    max_audio_bytes: int
    max_audio_seconds: float
    def __init__(self, model: _Optional[str] = ..., fingerprint: _Optional[str] = ..., hidden_size: _Optional[int] = ..., max_audio_bytes: _Optional[int] = ..., max_audio_seconds: _Optional[float] = ...) -> None: ...
