from trichord.v1 import tensor_pb2 as _tensor_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EncodeImageRequest(_message.Message):
    __slots__ = ("image",)
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    image: bytes
    def __init__(self, image: _Optional[bytes] = ...) -> None: ...

class EncodeImageResponse(_message.Message):
    __slots__ = ("embedding", "timings")
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    embedding: _tensor_pb2.Embedding
    timings: _tensor_pb2.EncodeTimings
    def __init__(self, embedding: _Optional[_Union[_tensor_pb2.Embedding, _Mapping]] = ..., timings: _Optional[_Union[_tensor_pb2.EncodeTimings, _Mapping]] = ...) -> None: ...

class VisionEncoderServiceGetModelRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class VisionEncoderServiceGetModelResponse(_message.Message):
    __slots__ = ("model", "fingerprint", "hidden_size", "max_image_bytes", "max_image_pixels", "max_aspect_ratio")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    HIDDEN_SIZE_FIELD_NUMBER: _ClassVar[int]
    MAX_IMAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_IMAGE_PIXELS_FIELD_NUMBER: _ClassVar[int]
    MAX_ASPECT_RATIO_FIELD_NUMBER: _ClassVar[int]
    model: str
    fingerprint: str
    hidden_size: int
    max_image_bytes: int
    max_image_pixels: int
    max_aspect_ratio: float
    def __init__(self, model: _Optional[str] = ..., fingerprint: _Optional[str] = ..., hidden_size: _Optional[int] = ..., max_image_bytes: _Optional[int] = ..., max_image_pixels: _Optional[int] = ..., max_aspect_ratio: _Optional[float] = ...) -> None: ...
