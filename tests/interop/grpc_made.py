"""The Python that grpcio-tools makes of proto/, made anew for each run."""

import sys
import tempfile
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

proto = Path(__file__).parents[2] / "proto"
made = tempfile.TemporaryDirectory()
files = [str(path) for path in (proto / "sidespan" / "v1").glob("*.proto")]
well_known = Path(grpc_tools.__file__).parent / "_proto"
failed = protoc.main(
    ["protoc", f"-I{proto}", f"-I{well_known}", f"--python_out={made.name}", f"--grpc_python_out={made.name}", *files]
)
if failed:
    sys.exit("protoc cannot read proto/")
sys.path.insert(0, made.name)


def seen(message):
    """Returns a message as JSON can show it."""
    return {
        "topic": message.topic,
        "id": message.id,
        "key": message.key.decode(),
        "content_type": message.content_type,
        "headers": [[header.name, header.value.decode()] for header in message.headers],
        "payload": message.payload.decode(),
        "tombstone": message.tombstone,
    }
