"""A client that knows nothing of hsmd but its socket: it asks by reflection what there is, and calls it (gRPC's own Python library)."""

import os
import sys

import grpc
from google.protobuf import descriptor_pool, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

SERVICES = ["cloudhsm.v1.CloudHsm", "hsmd.admin.v1.HsmAdmin", "hsmd.records.v1.Records", "grpc.health.v1.Health"]

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
    make = channel.unary_stream if described.server_streaming else channel.unary_unary
    ask = make(f"/{service}/{name}", request.SerializeToString, response.FromString)
    return ask(request(**fields), timeout=30)


def refused(code, service, name, /, **fields):
    try:
        call(service, name, **fields)
    except grpc.RpcError as error:
        assert error.code() == code, (name, error.code(), error.details())
        return error
    raise AssertionError(f"{name} was not refused")


listed = list(database.get_services())
for service in SERVICES:
    assert service in listed, (service, listed)

# Every unary method of our own services answers: with a result, or with a refusal in words. None is missing or breaks.
calls = 0
for service in SERVICES[:3]:
    for described in pool.FindServiceByName(service).methods:
        assert not described.client_streaming, described.full_name
        if described.server_streaming or described.name.startswith(("Zeroize", "Initialize")):
            continue
        try:
            call(service, described.name)
        except grpc.RpcError as error:
            good = [
                grpc.StatusCode.INVALID_ARGUMENT,
                grpc.StatusCode.NOT_FOUND,
                grpc.StatusCode.FAILED_PRECONDITION,
                grpc.StatusCode.PERMISSION_DENIED,
            ]
            assert error.code() in good and error.details(), (described.full_name, error.code(), error.details())
        calls += 1
assert calls >= 20 + 6 + 5, calls

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

hsms = call("cloudhsm.v1.CloudHsm", "ListHsms").hsm_list
assert len(hsms) == 1, hsms
missing = refused(grpc.StatusCode.INVALID_ARGUMENT, "cloudhsm.v1.CloudHsm", "CreateHsm")
assert dict(missing.trailing_metadata())["aws-error"] == "InvalidRequestException"
health = call("grpc.health.v1.Health", "Check", service=RECORDS)
assert health.status == 1, health
print(f"{calls} methods called", file=sys.stderr)
