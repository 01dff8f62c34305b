"""A server of our own that speaks S3."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import boto3
import pytest
import s3fs
from moto.server import ThreadedMotoServer


@contextmanager
def serving() -> Generator[str]:
    """The address of a running server."""
    running = ThreadedMotoServer(port=0)
    running.start()
    _, port = running.get_host_and_port()
    yield f"http://127.0.0.1:{port}"
    running.stop()


def empty_bucket(server: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let s3:// lead to the server, on which there is an empty bucket of this name."""
    for variable, value in {
        "AWS_ENDPOINT_URL": server,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(variable, value)
    s3fs.S3FileSystem.clear_instance_cache()
    client = boto3.client("s3")
    for held in client.list_buckets()["Buckets"]:
        for one in client.list_objects_v2(Bucket=held["Name"]).get("Contents", []):
            client.delete_object(Bucket=held["Name"], Key=one["Key"])
    client.create_bucket(Bucket=name)
