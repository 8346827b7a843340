"""hsmd as an XKS proxy: requests signed by botocore, keys made through the module. Each function is a scenario."""

import base64
import datetime
import hashlib
import http.client
import json
import os
import re
import signal
import ssl
import sys
import time
import urllib.parse

import pkcs11
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

URL = urllib.parse.urlsplit(os.environ["XKS_URL"])
PAIR = (os.environ["XKS_ACCESS_KEY_ID"], os.environ["XKS_SECRET_ACCESS_KEY"])
SECOND = (os.environ["XKS_ACCESS_KEY_ID_2"], os.environ["XKS_SECRET_ACCESS_KEY_2"])
WHO = {
    "awsPrincipalArn": "arn:aws:iam::123456789012:user/Alice",
    "kmsKeyArn": "arn:aws:kms:us-east-2:123456789012:/key/1234abcd-12ab-34cd-56ef-1234567890ab",
    "kmsOperation": "BulkEncrypt",
    "kmsRequestId": "no uuid \n at all",
    "kmsViaService": "ebs",
    "awsSourceVpc": "vpc-1",
    "sourceIdentity": {"new": True},
}


def b64(data):
    return base64.b64encode(data).decode()


def connection():
    if URL.scheme == "http":
        return http.client.HTTPConnection(URL.hostname, URL.port, timeout=30)
    context = ssl.create_default_context(cafile=os.environ["XKS_CA"])
    return http.client.HTTPSConnection(URL.hostname, URL.port, timeout=30, context=context)


def signed(path, body, pair=PAIR, region="local-1", service="kms-xks-proxy", off=0, **headers):
    """The headers of a request, its time off by so many seconds."""
    request = AWSRequest("POST", "%s://%s%s" % (URL.scheme, URL.netloc, path), data=body, headers=headers)
    signer = SigV4Auth(Credentials(*pair), service, region)
    moment = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=off)
    request.context["timestamp"] = moment.strftime("%Y%m%dT%H%M%SZ")
    signer._modify_request_before_signing(request)
    signer._inject_signature_to_request(
        request, signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    )
    return dict(request.headers.items())


def send(path, body=b"", method="POST", headers=None):
    """Status and body of an answer."""
    link = connection()
    link.request(method, path, body=body, headers=headers or {})
    answer = link.getresponse()
    text = answer.read()
    link.close()
    assert answer.headers["content-type"] == "application/json", answer.headers
    return answer.status, json.loads(text)


def call(target, members, raw=None, path=None, **signing):
    path = path or URL.path + "/" + target
    body = json.dumps(members).encode() if raw is None else raw
    headers = signed(path, body, **{"Content-Type": "application/json", **signing})
    return send(path, body, headers=headers)


def good(target, members):
    status, body = call(target, members)
    assert status == 200, (target, status, body)
    return body


def refused(name, status, answer):
    assert answer[0] == status and answer[1]["errorName"] == name, (name, answer)
    message = answer[1]["errorMessage"]
    assert len(message) < 512 and re.fullmatch("[ -~]+", message), message


def metadata(key):
    return call("keys/%s/metadata" % key, {"requestMetadata": WHO})


def encrypt(key, text, **members):
    members = {"requestMetadata": WHO, "plaintext": b64(text), "encryptionAlgorithm": "AES_GCM", **members}
    return call("keys/%s/encrypt" % key, members)


def decrypt(key, sealed, **members):
    parts = {k: v for k, v in sealed.items() if k != "ciphertextDataIntegrityValue"}
    members = {"requestMetadata": WHO, "encryptionAlgorithm": "AES_GCM", **parts, **members}
    return call("keys/%s/decrypt" % key, members)


def health():
    return call("health", {"requestMetadata": {"kmsRequestId": "1", "kmsOperation": "KmsHealthCheck"}})


def session():
    token = next(pkcs11.lib(os.environ["MODULE"]).get_tokens(token_label=os.environ["TOKEN"]))
    return token.open(rw=True, user_pin=os.environ["PIN"])


def make(link, label, bits=256, uses=("ENCRYPT", "DECRYPT"), id=None):
    every = ["ENCRYPT", "DECRYPT", "SIGN", "VERIFY", "WRAP", "UNWRAP", "DERIVE"]
    template = {getattr(pkcs11.Attribute, name): name in uses for name in every}
    template |= {pkcs11.Attribute.SENSITIVE: True, pkcs11.Attribute.EXTRACTABLE: False}
    return link.generate_key(pkcs11.KeyType.AES, bits, id=id, label=label, store=True, template=template)


def round_trips():
    link = session()
    key = make(link, "k.1-a_b", id=bytes.fromhex("00aaff10"))
    status, found = metadata("k.1-a_b")
    assert (status, found) == (200, {"keySpec": "AES_256", "keyUsage": ["ENCRYPT", "DECRYPT"], "keyStatus": "ENABLED"})
    for text in [b"", b"Hello World!", os.urandom(4300)]:
        for aad in [None, b"project=nile,department=marketing", os.urandom(8192)]:
            extra = {} if aad is None else {"additionalAuthenticatedData": b64(aad)}
            status, sealed = encrypt("k.1-a_b", text, **extra, ciphertextDataIntegrityValueAlgorithm="SHA_256")
            assert status == 200, sealed
            parts = {name: base64.b64decode(value, validate=True) for name, value in sealed.items()}
            cipher, iv, tag = parts["ciphertext"], parts["initializationVector"], parts["authenticationTag"]
            beside = parts["ciphertextMetadata"]
            assert (len(cipher), len(iv), len(tag)) == (len(text), 12, 16) and len(beside) <= 20
            whole = (aad or b"") + beside + iv + cipher + tag
            assert parts["ciphertextDataIntegrityValue"] == hashlib.sha256(whole).digest()
            # The very key, through the module, with what the specification says is authenticated.
            bound = len(aad or b"").to_bytes(2, "big") + (aad or b"") + bytes([len(beside)]) + beside
            given = pkcs11.GCMParams(iv, bound, 128)
            assert key.decrypt(cipher + tag, mechanism=pkcs11.Mechanism.AES_GCM, mechanism_param=given) == text
            for name in ["k.1-a_b", "00aaff10", "00AAFF10"]:
                assert decrypt(name, sealed, **extra) == (200, {"plaintext": b64(text)})
            for member in ["authenticationTag", "initializationVector", "ciphertextMetadata"] + ["ciphertext"] * bool(text):
                damaged = bytearray(parts[member])
                damaged[0] ^= 1
                refused("InvalidCiphertextException", 400, decrypt("k.1-a_b", sealed, **{**extra, member: b64(bytes(damaged))}))
            other = b64(b"other" if aad is None else aad[1:])
            refused("InvalidCiphertextException", 400, decrypt("k.1-a_b", sealed, additionalAuthenticatedData=other))
            moved = b64(((aad or b"") + beside)[-8192:])
            refused("InvalidCiphertextException", 400, decrypt("k.1-a_b", sealed, additionalAuthenticatedData=moved, ciphertextMetadata=None))
    plain = encrypt("k.1-a_b", b"x")[1]
    assert "ciphertextDataIntegrityValue" not in plain
    # What another made, with a vector of 16 bytes and without metadata.
    value, iv = os.urandom(32), os.urandom(16)
    template = {pkcs11.Attribute.CLASS: pkcs11.ObjectClass.SECRET_KEY, pkcs11.Attribute.KEY_TYPE: pkcs11.KeyType.AES,
                pkcs11.Attribute.TOKEN: True, pkcs11.Attribute.LABEL: "outside", pkcs11.Attribute.VALUE: value}
    link.create_object(template)
    made = AESGCM(value).encrypt(iv, b"text", b"\0\0\0")
    sealed = {"ciphertext": b64(made[:-16]), "authenticationTag": b64(made[-16:]), "initializationVector": b64(iv)}
    assert decrypt("outside", sealed) == (200, {"plaintext": b64(b"text")})
    status, found = health()
    assert status == 200 and found["xksProxyFleetSize"] == 1 and len(found["ekmFleetDetails"]) == 1, found
    assert found["ekmFleetDetails"][0]["healthStatus"] == "ACTIVE" and found["ekmFleetDetails"][0]["id"], found


def keys_and_their_uses():
    link = session()
    make(link, "both")
    make(link, "only-encrypts", uses=["ENCRYPT"])
    make(link, "only-decrypts", uses=["DECRYPT"])
    make(link, "signs", uses=["SIGN", "VERIFY"])
    make(link, "short", bits=128)
    make(link, "twice")
    make(link, "twice")
    first = make(link, "by-id", id=bytes.fromhex("ab01"))
    make(link, "ab01")
    assert metadata("only-encrypts")[1]["keyUsage"] == ["ENCRYPT"]
    assert metadata("signs")[1]["keyUsage"] == ["SIGN", "VERIFY"]
    assert metadata("short")[1]["keySpec"] == "AES_128"
    status, sealed = encrypt("only-encrypts", b"x")
    assert status == 200, sealed
    refused("InvalidKeyUsageException", 400, decrypt("only-encrypts", sealed))
    refused("InvalidKeyUsageException", 400, encrypt("only-encrypts", b"x", ciphertextDataIntegrityValueAlgorithm="SHA_256"))
    for key in ["only-decrypts", "signs", "short"]:
        refused("InvalidKeyUsageException", 400, encrypt(key, b"x"))
    # One name must be one key.
    for key in ["twice", "ab01", "missing", "AB02"]:
        for answer in [metadata(key), encrypt(key, b"x"), decrypt(key, sealed)]:
            refused("KeyNotFoundException", 404, answer)
    assert metadata("by-id")[0] == 200
    # What changes in the token changes here.
    sealed = encrypt("both", b"x")[1]
    found = next(link.get_objects({pkcs11.Attribute.LABEL: "both"}))
    found[pkcs11.Attribute.DECRYPT] = False
    refused("InvalidKeyUsageException", 400, decrypt("both", sealed))
    found[pkcs11.Attribute.DECRYPT] = True
    assert decrypt("both", sealed)[0] == 200
    found.destroy()
    refused("KeyNotFoundException", 404, decrypt("both", sealed))
    refused("KeyNotFoundException", 404, metadata("both"))
    first.destroy()
    make(link, "both")
    refused("InvalidCiphertextException", 400, decrypt("both", sealed))


def requests_that_are_not_authentic():
    make(session(), "k")
    members = {"requestMetadata": WHO}
    for target in ["health", "keys/k/metadata", "keys/missing/metadata"]:
        for wrong in [
            {"pair": ("A" * 20, PAIR[1])},
            {"pair": (PAIR[0], "x" * 43)},
            {"pair": (SECOND[0], PAIR[1])},
            {"region": "us-east-1"},
            {"service": "kms"},
            {"off": -301},
            {"off": 310},
            {"off": -86400},
        ]:
            refused("AuthenticationFailedException", 401, call(target, members, **wrong))
        for fine in [{"pair": SECOND}, {"off": -240}, {"off": 240}]:
            status, _ = call(target, members, **fine)
            assert status == (404 if "missing" in target else 200), (target, fine, status)
    path = URL.path + "/health"
    body = json.dumps(members).encode()
    headers = signed(path, body)
    assert send(path, body, headers=headers)[0] == 200
    refused("AuthenticationFailedException", 401, send(path, body + b" ", headers=headers))
    refused("AuthenticationFailedException", 401, send(path, body))
    refused("AuthenticationFailedException", 401, send(URL.path + "/keys/k/metadata", body, headers=headers))
    text = headers["Authorization"]
    for changed in ["", "Bearer x", text[:-1], text.replace("SignedHeaders=host;", "SignedHeaders="), text + ", Signature=0", text.upper()]:
        refused("AuthenticationFailedException", 401, send(path, body, headers={**headers, "Authorization": changed}))


def paths_methods_and_bodies():
    make(session(), "k")
    members = {"requestMetadata": WHO}
    for target in ["health", "keys/k/metadata", "keys/k/encrypt", "keys/k/decrypt"]:
        for method in ["GET", "PUT", "DELETE"]:
            status, _ = send(URL.path + "/" + target, method=method)
            assert status == 405, (target, method, status)
    for path in ["/", "/kms/xks/v1/health", "/other" + URL.path + "/health", URL.path, URL.path + "/", URL.path + "/health/",
                 URL.path + "/keys/k", URL.path + "/keys/k/sign", URL.path + "/keys/a%20b/encrypt", URL.path + "/keys/../health",
                 URL.path + "/keys/" + "a" * 129 + "/metadata", URL.path + "/health?x=1", URL.path[:-1] + "2/health"]:
        refused("InvalidUriPathException", 404, call("", members, path=path))
    assert send("/ping", method="GET") == (200, {})
    fine = {"requestMetadata": WHO, "plaintext": "AAAA", "encryptionAlgorithm": "AES_GCM"}
    assert call("keys/k/encrypt", fine)[0] == 200
    wrongs = [None, 5, "", [], {}, {"requestMetadata": {}}, {"requestMetadata": 1}, {"requestMetadata": {"kmsOperation": 1, "kmsRequestId": "1"}}]
    for target in ["health", "keys/k/metadata", "keys/k/encrypt", "keys/k/decrypt"]:
        for wrong in wrongs:
            refused("ValidationException", 400, call(target, wrong))
        for raw in [b"", b"{", b"\xff\xfe", b"[" * 40000, json.dumps(members).encode()[:-1], b'{"requestMetadata":{"kmsOperation":"a","kmsOperation":"a","kmsRequestId":"b"}}']:
            refused("ValidationException", 400, call(target, None, raw=raw))
        refused("UnsupportedOperationException", 501, call(target, None, raw=b" " * 60000))
    for name in fine:
        refused("ValidationException", 400, call("keys/k/encrypt", {k: v for k, v in fine.items() if k != name}))
    for name in ["awsPrincipalArn", "kmsKeyArn", "kmsOperation", "kmsRequestId"]:
        less = {k: v for k, v in WHO.items() if k != name}
        refused("ValidationException", 400, call("keys/k/encrypt", {**fine, "requestMetadata": less}))
    for changes, name, status in [
        ({"plaintext": "AAA"}, "ValidationException", 400),
        ({"plaintext": "-_8="}, "ValidationException", 400),
        ({"plaintext": None}, "ValidationException", 400),
        ({"plaintext": b64(b"x" * 8193)}, "UnsupportedOperationException", 501),
        ({"additionalAuthenticatedData": b64(b"x" * 8193)}, "UnsupportedOperationException", 501),
        ({"encryptionAlgorithm": "AES_CBC"}, "ValidationException", 400),
        ({"ciphertextDataIntegrityValueAlgorithm": "SHA_1"}, "ValidationException", 400),
    ]:
        refused(name, status, call("keys/k/encrypt", {**fine, **changes}))
    sealed = encrypt("k", b"x")[1]
    for changes in [{"initializationVector": b64(b"x" * 11)}, {"authenticationTag": b64(b"x" * 12)}, {"ciphertextMetadata": b64(b"x" * 21)}, {"ciphertext": ""}]:
        refused("InvalidCiphertextException", 400, decrypt("k", sealed, **changes))
    # A long ARN, and several requests on one connection.
    long = {**WHO, "awsPrincipalArn": "arn:" + "x" * 2044}
    assert call("keys/k/encrypt", {**fine, "requestMetadata": long})[0] == 200
    link = connection()
    for _ in range(5):
        body = json.dumps(fine).encode()
        path = URL.path + "/keys/k/encrypt"
        link.request("POST", path, body=body, headers=signed(path, body))
        answer = link.getresponse()
        assert answer.status == 200 and answer.read()


def until(condition, what):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "never: " + what


def hsmd_is_away():
    """The daemon is stopped in mid-flight, then goes on."""
    make(session(), "k")
    sealed = encrypt("k", b"x")[1]
    assert health()[0] == 200
    daemon = int(os.environ["HSMD_PID"])
    os.kill(daemon, signal.SIGSTOP)
    try:
        started = time.monotonic()
        for answer in [encrypt("k", b"x"), decrypt("k", sealed), health()]:
            assert answer[0] in (500, 503), answer
            refused({500: "InternalException", 503: "DependencyTimeoutException"}[answer[0]], answer[0], answer)
        assert time.monotonic() - started < 30
    finally:
        os.kill(daemon, signal.SIGCONT)
    until(lambda: decrypt("k", sealed)[0] == 200, "decrypts again")
    until(lambda: health()[0] == 200, "well again")


def credentials_are_changed():
    config = os.environ["XKS_CONFIG"]
    front = int(os.environ["XKS_PID"])
    text = open(config).read()
    new = ("NEWNEWNEWNEWNEWNEW22", "n" * 64)
    health_with = lambda pair: call("health", {"requestMetadata": WHO}, pair=pair)[0]

    def write(text):
        with open(config, "r+") as file:
            file.write(text)
            file.truncate()
        os.kill(front, signal.SIGHUP)

    write(text.replace(*[p for p in zip(SECOND, new)][0]).replace(SECOND[1], new[1]))
    until(lambda: health_with(new) == 200, "the new pair signs")
    assert health_with(PAIR) == 200 and health_with(SECOND) == 401
    write("nonsense")
    for _ in range(20):
        assert health_with(new) == 200


def too_many():
    answers = [health()[0] for _ in range(40)]
    assert answers[0] == 200 and 429 in answers and set(answers) == {200, 429}, answers
    refused("AuthenticationFailedException", 401, call("health", {"requestMetadata": WHO}, pair=(PAIR[0], "x" * 43)))
    until(lambda: health()[0] == 200, "calls pass again")


if __name__ == "__main__":
    globals()[sys.argv[1]]()
