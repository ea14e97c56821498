"""Errors become statuses and come back; nothing foreign comes through."""

from __future__ import annotations

import inspect

import grpc
import hypothesis
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc.aio import Metadata
from grpc_status import rpc_status
from hypothesis import strategies as st

from tests.unit.trichord.echo import served
from trichord import errors
from trichord.status import DOMAIN, from_rpc_error, to_status
from trichord.v1 import gateway_pb2

DETAILS_KEY = "grpc-status-details-bin"

ALL = [getattr(errors, name) for name in errors.__all__]
SENDABLE = [cls for cls in ALL if cls is not errors.TrichordError and not issubclass(cls, errors.StartupError)]


def rpc_error(status: grpc.Status) -> grpc.aio.AioRpcError:
    """What a client sees of a status."""
    trailers = Metadata(*status.trailing_metadata)
    return grpc.aio.AioRpcError(status.code, Metadata(), trailers, details=status.details)


def unpacked(status: grpc.Status) -> status_pb2.Status:
    return status_pb2.Status.FromString(dict(status.trailing_metadata)[DETAILS_KEY])


def test_every_error_is_exported() -> None:
    defined = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if cls.__module__ == errors.__name__]
    assert sorted(cls.__name__ for cls in defined) == sorted(errors.__all__)
    assert all(issubclass(cls, errors.TrichordError) for cls in defined)


def test_every_error_is_drawn_in_the_tree() -> None:
    drawn = {word for word in (errors.__doc__ or "").split() if word.endswith("Error")}
    assert drawn == set(errors.__all__)


def test_every_reason_that_travels_is_one_classes_own() -> None:
    assert len({cls.reason for cls in SENDABLE}) == len(SENDABLE)
    assert all(cls.reason == cls.reason.upper() for cls in ALL)


@pytest.mark.parametrize("cls", SENDABLE)
@pytest.mark.parametrize("retry_after_s", [None, 2.5])
@pytest.mark.parametrize("field", ["", "messages[0].parts[2].image_bytes"])
def test_every_error_goes_out_and_comes_back(
    cls: type[errors.TrichordError], field: str, retry_after_s: float | None
) -> None:
    sent = cls("What is wrong. What to do.", field=field, retry_after_s=retry_after_s)
    status = to_status(sent)
    assert status.code is cls.code
    came = from_rpc_error(rpc_error(status), "decoder")
    assert type(came) is cls
    assert (came.message, came.field, came.retry_after_s) == (sent.message, field, retry_after_s)
    assert (sent.is_relayed, came.is_relayed) == (False, True)


@pytest.mark.parametrize("cls", [cls for cls in ALL if issubclass(cls, errors.StartupError)])
def test_an_error_at_start_keeps_its_sentence(cls: type[errors.StartupError]) -> None:
    assert cls.code is grpc.StatusCode.INTERNAL
    assert cls("The tensor llm.norm.weight is missing.").message == "The tensor llm.norm.weight is missing."


def test_details_follow_the_google_rpc_error_model() -> None:
    status = to_status(errors.OverloadedError("Full.", field="image", retry_after_s=1.25))
    info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    for detail, message in zip(unpacked(status).details, (info, bad_request, retry), strict=True):
        assert detail.Unpack(message)
    assert (info.reason, info.domain) == ("OVERLOADED", DOMAIN)
    assert [violation.field for violation in bad_request.field_violations] == ["image"]
    assert retry.retry_delay.ToMilliseconds() == 1250


def test_an_error_without_a_field_violates_none() -> None:
    details = unpacked(to_status(errors.UnavailableError("The decoder does not answer."))).details
    assert [detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR) for detail in details] == [True]


def test_what_is_not_there_is_named() -> None:
    resource = error_details_pb2.ResourceInfo()
    field = "messages[0].parts[0].media_handle"
    details = unpacked(to_status(errors.NotFoundError("No such handle.", field=field))).details
    assert any(detail.Unpack(resource) for detail in details)
    assert resource.resource_name == field


def test_a_spent_budget_says_which_and_when() -> None:
    error = errors.QuotaError("Too many tiles this minute.", quota="tiles", retry_after_s=2.5)
    came = from_rpc_error(rpc_error(to_status(error)), "gateway")
    assert isinstance(came, errors.QuotaError)
    assert (came.quota, came.retry_after_s, came.message) == ("tiles", 2.5, "Too many tiles this minute.")


@pytest.mark.parametrize("letter", ["x", "ß", "語", "🙂", "\n", "\x00", "%"])
def test_details_stay_small_however_much_there_is_to_say(letter: str) -> None:
    status = to_status(errors.MediaError(letter * 1_000_000, field=letter * 1_000_000, retry_after_s=1))
    assert len(dict(status.trailing_metadata)[DETAILS_KEY]) < 4096
    assert 1000 <= len(status.details.encode()) <= 1024


@pytest.mark.parametrize("letter", ["x", "語", "🙂", "\n", "%", "\ud800"])
async def test_the_longest_message_arrives(letter: str) -> None:
    """The message is percent-encoded on the way: three bytes for one; metadata break a call at 16 KiB."""

    async def refuse(request: gateway_pb2.PutMediaRequest) -> gateway_pb2.PutMediaResponse:
        raise errors.MediaError(letter * 5000, field=letter * 5000, retry_after_s=1)

    async with served() as echo:
        echo.echo.answer = refuse
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await echo.stub.PutMedia(gateway_pb2.PutMediaRequest())
    error = from_rpc_error(caught.value, "gateway")
    assert type(error) is errors.MediaError
    assert len(error.message.encode()) > 1000


@hypothesis.given(message=st.text(max_size=3000), field=st.text(max_size=600))
def test_any_text_survives_or_is_cut_at_a_character(message: str, field: str) -> None:
    came = from_rpc_error(rpc_error(to_status(errors.RequestError(message, field=field))), "decoder")
    assert type(came) is errors.RequestError
    assert message.startswith(came.message)
    assert field.startswith(came.field)
    assert len(came.message.encode()) > 1020 or came.message == message


FOREIGN = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.RequestError,
    grpc.StatusCode.NOT_FOUND: errors.NotFoundError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.OverloadedError,
    grpc.StatusCode.UNAVAILABLE: errors.UnavailableError,
    grpc.StatusCode.CANCELLED: errors.UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineError,
    grpc.StatusCode.UNIMPLEMENTED: errors.FeatureOffError,
    grpc.StatusCode.UNKNOWN: errors.InternalError,
    grpc.StatusCode.INTERNAL: errors.InternalError,
    grpc.StatusCode.DATA_LOSS: errors.InternalError,
    grpc.StatusCode.UNAUTHENTICATED: errors.InternalError,
    grpc.StatusCode.PERMISSION_DENIED: errors.InternalError,
}


def foreign_details(code: grpc.StatusCode, *details: error_details_pb2.ErrorInfo, message: str = "") -> bytes:
    status = status_pb2.Status(code=code.value[0], message=message or "10.1.2.3:50051 /srv/secret")
    for detail in details:
        status.details.add().Pack(detail)
    return status.SerializeToString()


@pytest.mark.parametrize(("code", "cls"), FOREIGN.items())
@pytest.mark.parametrize("kind", ["bare", "other domain", "unknown reason", "garbage", "contradiction", "bad detail"])
def test_the_text_of_others_stays_inside(code: grpc.StatusCode, cls: type[errors.TrichordError], kind: str) -> None:
    bad_detail = status_pb2.Status(code=code.value[0], message="10.1.2.3:50051 /srv/secret")
    bad_detail.details.append(any_pb2.Any(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\xff"))
    details = {
        "other domain": foreign_details(code, error_details_pb2.ErrorInfo(reason="OVERLOADED", domain="other.dev")),
        "unknown reason": foreign_details(code, error_details_pb2.ErrorInfo(reason="STARTUP", domain=DOMAIN)),
        "garbage": b"\xff\xff",
        "contradiction": foreign_details(grpc.StatusCode.DATA_LOSS, message="another"),
        "bad detail": bad_detail.SerializeToString(),
    }
    trailers = Metadata() if kind == "bare" else Metadata((DETAILS_KEY, details[kind]))
    failure = grpc.aio.AioRpcError(code, Metadata(), trailers, details="10.1.2.3:50051 /srv/secret")
    error = from_rpc_error(failure, "vision encoder")
    assert type(error) is cls
    assert "vision encoder" in error.message
    assert "10.1.2.3" not in error.message
    assert "secret" not in error.message
    assert not error.is_relayed


def test_a_peer_that_does_not_answer_may_be_asked_again() -> None:
    failure = grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, Metadata(), Metadata(), details="refused")
    assert from_rpc_error(failure, "decoder").retry_after_s == 1.0


def test_the_library_reads_our_statuses_too() -> None:
    status = to_status(errors.MediaError("Not an image.", field="image"))
    assert rpc_status.from_call(rpc_error(status)) == unpacked(status)


def test_at_renames_the_part_and_nothing_else() -> None:
    error = errors.MediaError("Not an image.", field="image", retry_after_s=3)
    renamed = error.at("messages[0].parts[1].image_bytes")
    assert renamed is error
    assert (error.field, error.message, error.retry_after_s) == ("messages[0].parts[1].image_bytes", "Not an image.", 3)
