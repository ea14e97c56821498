"""Events to a whole answer."""

from __future__ import annotations

from trichord.client.answer import Answer, Collector
from trichord.v1 import decoder_pb2, gateway_pb2

Event = gateway_pb2.ChatResponse


def collected(*events: Event) -> Answer:
    collector = Collector()
    for event in events:
        collector.add(event)
    return collector.answer()


def token(text: str, *ids: int, sample: int = 0) -> Event:
    logprobs = [decoder_pb2.TokenLogprobs(chosen=decoder_pb2.TokenLogprob(token_id=number)) for number in ids]
    return Event(token=gateway_pb2.ChatToken(text=text, token_ids=ids, sample=sample, logprobs=logprobs))


def finished(*reasons: decoder_pb2.FinishReason) -> Event:
    samples = [decoder_pb2.SampleFinished(reason=reason) for reason in reasons]
    return Event(
        finished=gateway_pb2.ChatFinished(
            reason=reasons[0],
            samples=samples,
            usage=gateway_pb2.Usage(completion_tokens=5),
            receipt=gateway_pb2.StageReceipt(trace_id="ab"),
        )
    )


def test_one_answer() -> None:
    answer = collected(
        Event(started=gateway_pb2.ChatStarted(request_id="r", model="tiny")),
        Event(item_encoded=gateway_pb2.ItemEncoded()),
        token("He", 1),
        token("llo", 2, 3),
        finished(decoder_pb2.FINISH_REASON_END_OF_TURN),
    )
    assert (answer.request_id, answer.model, answer.text) == ("r", "tiny", "Hello")
    assert (answer.finish_reason, answer.usage.completion_tokens) == ("end_of_turn", 5)
    assert list(answer.samples[0].token_ids) == [1, 2, 3]
    assert [logprobs.chosen.token_id for logprobs in answer.logprobs] == [1, 2, 3]
    assert answer.receipt.trace_id == "ab"
    assert list(answer.skipped) == []


def test_several_answers_that_mix() -> None:
    answer = collected(
        token("a", 1),
        token("x", 8, sample=1),
        token("b", 2),
        finished(decoder_pb2.FINISH_REASON_LENGTH, decoder_pb2.FINISH_REASON_STOP_STRING),
    )
    assert [(sample.text, sample.finish_reason, list(sample.token_ids)) for sample in answer.samples] == [
        ("ab", "length", [1, 2]),
        ("x", "stop_string", [8]),
    ]


def test_what_was_left_out_is_told() -> None:
    skipped = gateway_pb2.ItemSkipped(message_index=1, part_index=2, reason="asleep")
    answer = collected(Event(item_skipped=skipped), finished(decoder_pb2.FINISH_REASON_LENGTH))
    assert list(answer.skipped) == [skipped]


def test_what_is_newer_than_this_client_is_passed_over() -> None:
    newer = finished(decoder_pb2.FINISH_REASON_LENGTH)
    newer.finished.samples[0].reason = 99  # type: ignore[assignment]
    answer = collected(Event(), token("a"), newer)
    assert (answer.text, answer.finish_reason) == ("a", "unspecified")


def test_a_finish_without_samples_is_of_one_answer() -> None:
    reason = decoder_pb2.FINISH_REASON_STOP_STRING
    answer = collected(token("a"), Event(finished=gateway_pb2.ChatFinished(reason=reason)))
    assert [(sample.text, sample.finish_reason) for sample in answer.samples] == [("a", "stop_string")]
