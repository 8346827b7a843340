"""Every operation with every member wrong in every way that its model knows: the modelled error, never a 5xx, never silence.
The requests are signed, but not checked by botocore before they leave."""

import base64
import http.client
import json
import os
import re
import sys
import urllib.parse

import botocore.loaders
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.model import ServiceModel

URL = urllib.parse.urlparse(os.environ["AWS_ENDPOINT_URL"])
KEYS = Credentials(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])
JSON = "application/x-amz-json-1.1"
# Texts of which one fits each pattern of the models.
TEXTS = [
    "aaaaaaaa", "alias/none", "eu-west-1", "12345678", "10.0.0.1", "subnet-12345678", "hsm-12345678", "5.1", "PRODUCTION",
    "a" * 64, "cluster-aaaaaaaaaaa", "0" * 64, "https://example.org", "/kms/xks/v1", "A" * 24, "a" * 48, "a" * 700, "service.amazonaws.com",
    "arn:aws:cloudhsm:eu-west-1:123456789012:hsm-12345678", "arn:aws:cloudhsm:eu-west-1:123456789012:hapg-12345678",
    "arn:aws:cloudhsm:eu-west-1:123456789012:client-12345678", "arn:aws:iam::123456789012:role/x",
    ":".join(["ab"] * 16), "com.amazonaws.vpce.eu-west-1.vpce-svc-12345678901234567", "123456789012",
    "arn:aws:kms:eu-west-1:123456789012:key/x",
]


# Required unless the request is a dry run, which the models do not say.
BESIDE = {"Decrypt": {"CiphertextBlob": "eA=="}, "ReEncrypt": {"CiphertextBlob": "eA=="}}


class Service:
    def __init__(self, name):
        self.model = ServiceModel(botocore.loaders.Loader().load_service_model(name, "service-2"), name)
        self.connection = http.client.HTTPConnection(URL.hostname, URL.port, timeout=20)
        self.asked = 0

    def send(self, operation, body, content_type=JSON):
        """Status, error code and message."""
        target = "%s.%s" % (self.model.metadata["targetPrefix"], operation)
        headers = {"X-Amz-Target": target}
        if content_type is not None:
            headers["Content-Type"] = content_type
        request = AWSRequest("POST", URL.geturl() + "/", headers=headers, data=body)
        SigV4Auth(KEYS, self.model.signing_name, os.environ["AWS_DEFAULT_REGION"]).add_auth(request)
        self.connection.request("POST", "/", body, dict(request.headers.items()))
        answer = self.connection.getresponse()
        text = answer.read()
        self.asked += 1
        found = json.loads(text) if text else {}
        assert answer.status < 500, (operation, body, answer.status, text)
        if answer.status != 200:
            assert "__type" in found and "message" in found, (operation, text)
        return answer.status, found.get("__type"), found.get("message", "")

    def call(self, operation, members):
        return self.send(operation, json.dumps(members).encode())


def metadata(shape, name):
    return shape.metadata.get(name)


def sample(shape):
    """A value that the model allows."""
    kind = shape.type_name
    if kind == "structure":
        return {name: sample(shape.members[name]) for name in shape.required_members}
    if kind == "list":
        return [sample(shape.member)] * max(1, metadata(shape, "min") or 0)
    if kind == "map":
        return {}
    if kind in ("integer", "long"):
        return metadata(shape, "min") or 1
    if kind == "boolean":
        return False
    if kind == "timestamp":
        return 1
    if kind == "blob":
        return base64.b64encode(b"x" * max(1, metadata(shape, "min") or 0)).decode()
    if metadata(shape, "enum"):
        return shape.enum[0]
    least, most = metadata(shape, "min") or 0, metadata(shape, "max") or 1 << 20
    pattern = re.compile(metadata(shape, "pattern") or "(?s).*")
    for text in TEXTS + ["a" * least]:
        if least <= len(text) <= most and pattern.fullmatch(text):
            return text
    raise AssertionError("no text for %s: %s" % (shape.name, shape.metadata))


def types(shape):
    """Values of other types."""
    kind = shape.type_name
    wrong = {"string": [7, True, [], {}], "blob": [7, "%%%", []], "integer": ["x", 1.5, [], True], "long": ["x", []],
             "boolean": ["x", 7, []], "timestamp": ["x", []], "list": ["x", 7, {}], "map": ["x", []], "structure": ["x", []]}
    return wrong[kind]


def limits(shape):
    """Values of the right type that the model does not allow."""
    kind, least, most = shape.type_name, metadata(shape, "min"), metadata(shape, "max")
    if kind in ("integer", "long"):
        return [n for n in (None if least is None else least - 1, None if most is None else most + 1) if n is not None]
    if kind == "blob":
        long = [base64.b64encode(b"x" * (most + 1)).decode()] if most else []
        return long + ([""] if least else [])
    if kind == "list":
        return ([[sample(shape.member)] * (most + 1)] if most and most < 1000 else []) + ([[]] if least else [])
    if kind != "string":
        return []
    if metadata(shape, "enum"):
        return ["NoSuchValue", ""]
    out = ["a" * (most + 1)] if most and most < 200_000 else []
    out += [""] if least else []
    if metadata(shape, "pattern"):
        pattern = re.compile(metadata(shape, "pattern"))
        length = max(least or 1, 1)
        off = [c * length for c in "\x01{ü\n" if not pattern.fullmatch(c * length)]
        assert off, shape.metadata
        out += off[:2]
    return out


def variants(shape, depth=0):
    """Wrong values of a member, with what is wrong: at any depth."""
    for value in types(shape):
        yield "type", value
    for value in limits(shape):
        yield "limit", value
    if depth > 3:
        return
    if shape.type_name == "structure":
        for name, member in shape.members.items():
            for what, value in variants(member, depth + 1):
                yield what, dict(sample(shape), **{name: value})
            if name in shape.required_members:
                yield "limit", {other: value for other, value in sample(shape).items() if other != name}
    elif shape.type_name == "list":
        for what, value in variants(shape.member, depth + 1):
            yield what, [value]
    elif shape.type_name == "map":
        for what, value in variants(shape.value, depth + 1):
            yield what, {"a": value}


def matrix(service, limit_codes):
    for operation in service.model.operation_names:
        shape = service.model.operation_model(operation).input_shape
        if shape is None:
            service.call(operation, {"Unknown": 1})
            continue
        base = dict(sample(shape), **BESIDE.get(operation, {}))
        modelled = {error.name for error in service.model.operation_model(operation).error_shapes}
        expected = service.call(operation, base)
        assert expected[1] is None or expected[1] in modelled | {"ValidationException"}, (operation, base, expected)
        assert expected[0] == 200 or "validation error" not in expected[2], (operation, base, expected)
        again = service.call(operation, dict(base, Unknown={"deep": [1]}, unknown=None))
        assert again[1] == expected[1], (operation, expected, again)
        for name, member in shape.members.items():
            if name in shape.required_members:
                for missing in ({other: value for other, value in base.items() if other != name}, dict(base, **{name: None})):
                    status, code, message = service.call(operation, missing)
                    assert status == 400 and code in limit_codes, (operation, name, "missing", code, message)
            for what, value in variants(member):
                status, code, message = service.call(operation, dict(base, **{name: value}))
                wanted = ["SerializationException"] if what == "type" else limit_codes
                assert status == 400 and code in wanted, (operation, name, what, value, code, message)


def kms():
    service = Service("kms")
    matrix(service, ["ValidationException"])
    assert service.asked > 1000, service.asked


def cloudhsm():
    service = Service("cloudhsm")
    matrix(service, ["InvalidRequestException", "CloudHsmServiceException"])
    assert service.asked > 200, service.asked


def bodies():
    """Bodies that are no request at all."""
    deep = b"[" * 20_000
    broken = [b"{", b"[]", b'"x"', b"nul", b"7", b'{"a":}', b'{"KeyId":"\xff"}', b"\x00", deep, b'{"a":' * 20_000, b"{}x", b"{'a':1}"]
    for name in ("kms", "cloudhsm"):
        service = Service(name)
        for operation in service.model.operation_names:
            for body in broken:
                status, code, _ = service.send(operation, body)
                assert (status, code) == (400, "SerializationException"), (operation, body[:40], status, code)
            shape = service.model.operation_model(operation).input_shape
            if shape is not None and shape.required_members:
                empty = service.send(operation, b"")
                assert empty[:2] == service.send(operation, b"{}")[:2] and empty[0] == 400, (operation, empty)
            # SDKs send one type; what else a client says does not change what the body is.
            for kind in (None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
                status, code, _ = service.send(operation, b"a=b", kind)
                assert (status, code) == (400, "SerializationException"), (operation, kind, status, code)
        status, code, _ = service.send("NoSuchOperation", b"{}")
        assert (status, code) == (400, "UnknownOperationException"), code
        # One byte above the limit; a gigabyte that is only announced.
        status, code, _ = service.send(service.model.operation_names[0], b" " * ((1 << 20) + 1))
        assert (status, code) == (413, "RequestEntityTooLargeException"), code
        service.connection.close()
        huge = http.client.HTTPConnection(URL.hostname, URL.port, timeout=20)
        huge.putrequest("POST", "/")
        huge.putheader("X-Amz-Target", "%s.ListKeys" % service.model.metadata["targetPrefix"])
        huge.putheader("Content-Type", JSON)
        huge.putheader("Content-Length", str(1 << 30))
        huge.endheaders()
        try:
            for _ in range(64):
                huge.send(b" " * (1 << 16))
            answer = huge.getresponse()
            assert answer.status == 413, answer.status
        except (BrokenPipeError, ConnectionResetError):
            # It answered and closed while we were sending.
            pass
        huge.close()
    # Half a body, then nothing: the connection ends, and the next one is served.
    half = http.client.HTTPConnection(URL.hostname, URL.port, timeout=20)
    half.putrequest("POST", "/")
    half.putheader("X-Amz-Target", "TrentService.ListKeys")
    half.putheader("Content-Length", "10")
    half.endheaders()
    half.send(b"{")
    half.close()
    assert Service("kms").call("ListKeys", {})[0] == 200


if __name__ == "__main__":
    globals()[sys.argv[1]]()
