"""A client that knows nothing of hsmd but its socket: it asks by reflection what there is, and calls it (gRPC's own Python library)."""

import os
import sys

import grpc
from google.protobuf import descriptor_pool, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

OWN = [
    "cloudhsm.v1.CloudHsm",
    "hsmd.admin.v1.HsmAdmin",
    "hsmd.records.v1.Records",
    "hsmd.identity.v1.Identity",
    "hsmd.backup.v1.Backup",
    "hsmd.audit.v1.Audit",
]
SERVICES = OWN + ["grpc.health.v1.Health"]

# Of a socket gRPC makes an :authority with percent signs, which is none (RFC 3986, 3.2.2) and which h2 refuses.
OPTIONS = [("grpc.default_authority", "localhost")]
channel = grpc.insecure_channel(os.environ["HSMD_ENDPOINT"].replace("unix://", "unix:"), options=OPTIONS)
database = ProtoReflectionDescriptorDatabase(channel)
pool = descriptor_pool.DescriptorPool(database)


def method(service, name):
    described = pool.FindServiceByName(service).FindMethodByName(name)
    classes = [message_factory.GetMessageClass(kind) for kind in (described.input_type, described.output_type)]
    return described, classes


def call(service, name, /, **fields):
    described, (request, response) = method(service, name)
    kinds = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, True): channel.stream_stream,
    }
    make = kinds[described.client_streaming, described.server_streaming]
    ask = make(f"/{service}/{name}", request.SerializeToString, response.FromString)
    asked = request(**fields)
    return ask(iter([asked]) if described.client_streaming else asked, timeout=30)


def refused(code, service, name, /, **fields):
    try:
        answer = call(service, name, **fields)
        if method(service, name)[0].server_streaming:
            list(answer)
    except grpc.RpcError as error:
        assert error.code() == code, (name, error.code(), error.details())
        return error
    raise AssertionError(f"{name} was not refused")


listed = list(database.get_services())
for service in SERVICES:
    assert service in listed, (service, listed)

# Every method of our own services answers: with a result, or with a refusal in words. None is missing or breaks.
ENDLESS = ["hsmd.records.v1.Records.Watch", "hsmd.audit.v1.Audit.Tail"]
calls = 0
for service in OWN:
    for described in pool.FindServiceByName(service).methods:
        if described.name.startswith(("Zeroize", "Initialize")):
            continue
        try:
            answer = call(service, described.name)
            if described.full_name in ENDLESS:
                answer.initial_metadata()
                answer.cancel()
            elif described.server_streaming:
                assert list(answer), described.full_name
        except grpc.RpcError as error:
            good = [
                grpc.StatusCode.INVALID_ARGUMENT,
                grpc.StatusCode.NOT_FOUND,
                grpc.StatusCode.FAILED_PRECONDITION,
                grpc.StatusCode.PERMISSION_DENIED,
            ]
            assert error.code() in good and error.details(), (described.full_name, error.code(), error.details())
        calls += 1
assert calls >= 20 + 24 + 6 + 6 + 3 + 6, calls

RECORDS = "hsmd.records.v1.Records"
written = call(RECORDS, "Put", key="a/1", value=b"one", expected_version=0)
found = call(RECORDS, "Get", key="a/1")
assert (found.record.value, found.record.version) == (b"one", written.version)
stale = refused(grpc.StatusCode.ABORTED, RECORDS, "Put", key="a/1", value=b"two", expected_version=0)
assert dict(stale.trailing_metadata())["record-version"] == str(written.version)
stream = call(RECORDS, "Watch", prefix="a/", after=written.revision)
assert not next(stream).changes
call(RECORDS, "Put", key="b/1", value=b"unwatched")
call(RECORDS, "Delete", key="a/1")
change = next(stream).changes[0]
assert change.deleted and change.record.key == "a/1"
stream.cancel()

# The services of the later issues do their work for it, too.
AUDIT = "hsmd.audit.v1.Audit"
assert call("hsmd.identity.v1.Identity", "WhoAmI").role == "admin"
assert not call(AUDIT, "Verify").troubles
lines = [line for part in call(AUDIT, "Export") for line in part.lines]
assert len(lines) > 3 and "hsmd_audit" in lines[0] and "trailer" in lines[-1], lines
wrong = refused(grpc.StatusCode.INVALID_ARGUMENT, "hsmd.backup.v1.Backup", "Create")
assert "key" in wrong.details()
assert not call("hsmd.backup.v1.Backup", "ListAutomatic").backups

hsms = call("cloudhsm.v1.CloudHsm", "ListHsms").hsm_list
assert len(hsms) == 1, hsms
missing = refused(grpc.StatusCode.INVALID_ARGUMENT, "cloudhsm.v1.CloudHsm", "CreateHsm")
assert dict(missing.trailing_metadata())["aws-error"] == "InvalidRequestException"
health = call("grpc.health.v1.Health", "Check", service=RECORDS)
assert health.status == 1, health
print(f"{calls} methods called", file=sys.stderr)
