"""What is told to Kafka's client: security, topics, and nothing that is not set."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from trichord.errors import SettingsError
from trichord.jobs.connection import client_options
from trichord.jobs.message import MAX_MESSAGE_BYTES
from trichord.jobs.settings import JobsSettings
from trichord.jobs.topics import Topics
from trichord.v1 import jobs_pb2


def test_jobs_are_on_with_a_store_and_a_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not JobsSettings.from_environment().are_on
    monkeypatch.setenv("TRICHORD_JOBS_STORE", "s3://bucket")
    assert not JobsSettings.from_environment().are_on
    monkeypatch.setenv("TRICHORD_JOBS_KAFKA", "kafka:9092")
    assert JobsSettings.from_environment().are_on
    monkeypatch.setenv("TRICHORD_JOBS_TOPIC_PREFIX", "no spaces")
    with pytest.raises(SettingsError, match="TRICHORD_JOBS_TOPIC_PREFIX"):
        JobsSettings.from_environment()


def test_without_brokers_there_is_no_client() -> None:
    with pytest.raises(SettingsError, match="TRICHORD_JOBS_KAFKA"):
        client_options(JobsSettings(), "name")


def test_plain_brokers_are_told_no_secret() -> None:
    options = client_options(JobsSettings(kafka="a:1, b:2"), "name")
    assert options["bootstrap_servers"] == ["a:1", "b:2"]
    assert options["security_protocol"] == "PLAINTEXT"
    assert not [name for name in options if name.startswith(("sasl", "ssl"))]


def test_brokers_with_a_password_are_told_it_over_tls() -> None:
    settings = JobsSettings.model_validate(
        {
            "kafka": "a:1",
            "kafka_security_protocol": "SASL_SSL",
            "kafka_username": "worker",
            "kafka_password": "secret",
        }
    )
    options = client_options(settings, "name")
    assert (options["sasl_mechanism"], options["sasl_plain_username"]) == ("SCRAM-SHA-512", "worker")
    assert options["sasl_plain_password"] == "secret"
    assert options["ssl_context"].verify_mode == ssl.CERT_REQUIRED
    assert options["ssl_context"].check_hostname
    assert "secret" not in repr(settings)


def test_a_bad_authority_is_a_setting_that_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nonsense")
    for name in ("ca.pem", "missing.pem"):
        settings = JobsSettings(kafka="a:1", kafka_security_protocol="SSL", kafka_ca_file=tmp_path / name)
        with pytest.raises(SettingsError, match="TRICHORD_JOBS_KAFKA_CA_FILE"):
            client_options(settings, "name")


def test_topics_are_under_the_prefix() -> None:
    topics = Topics(JobsSettings(topic_prefix="test."))
    assert [topic.name for topic in topics.all] == [
        "test.requests.retry.5s",
        "test.requests.retry.60s",
        "test.requests.high",
        "test.requests.normal",
        "test.requests.low",
        "test.results",
        "test.usage",
        "test.dead-letters",
    ]


@pytest.mark.parametrize(("replication", "in_sync"), [(1, "1"), (2, "1"), (3, "2")])
def test_topics_keep_what_they_are_given(replication: int, in_sync: str) -> None:
    for topic in Topics(JobsSettings(replication=replication, partitions=5, retention_hours=2)).all:
        assert (topic.partitions, topic.replication) == (5, replication)
        assert topic.config["min.insync.replicas"] == in_sync
        assert topic.config["retention.ms"] == "7200000"
        assert MAX_MESSAGE_BYTES < int(topic.config["max.message.bytes"]) < 1_048_588


def test_each_priority_has_its_topic() -> None:
    topics = Topics(JobsSettings())
    assert topics.requests(jobs_pb2.JOB_PRIORITY_HIGH) == topics.high
    assert topics.requests(jobs_pb2.JOB_PRIORITY_NORMAL) == topics.normal
    assert topics.requests(jobs_pb2.JOB_PRIORITY_UNSPECIFIED) == topics.normal
    assert topics.requests(jobs_pb2.JOB_PRIORITY_LOW) == topics.low
    places = [topics.work.index(name) for name in (topics.retry_5s, topics.high, topics.normal, topics.low)]
    assert places == sorted(places)
