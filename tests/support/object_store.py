"""An object store on this machine: moto's S3 server, filled with pictures."""

from __future__ import annotations

import contextlib
import urllib.request
from pathlib import Path

BUCKET = "pictures"


@contextlib.contextmanager
def object_store(monkeypatch):
    """Serve S3 on the loopback, and let every client of this process and its children find it; give a boto3 client."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        # What it holds outlives it in this process.
        reset = urllib.request.Request(f"http://{host}:{port}/moto-api/reset", method="POST")
        urllib.request.urlopen(reset, timeout=20).close()
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "nobody",
            "AWS_SECRET_ACCESS_KEY": "nothing",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }.items():
            monkeypatch.setenv(name, value)
        import fsspec

        # Clients that were made for another server are not used again.
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET)
        yield client
        client.close()
    finally:
        server.stop()


def upload(client, folder, prefix):
    """Put all files of a folder below a prefix."""
    for file in sorted(Path(folder).rglob("*")):
        if file.is_file():
            client.upload_file(str(file), BUCKET, f"{prefix}/{file.relative_to(folder).as_posix()}")
