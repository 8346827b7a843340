"""A proxy of an external key manager, for tests: right as long as the file `mode` says `good`, else wrong in the way it says."""

import base64
import hashlib
import http.server
import json
import os
import ssl
import sys
import time

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

HOME = os.environ["HOME"]
KEY = AESGCM(hashlib.sha256(b"the external key").digest())
USAGE = ["ENCRYPT", "DECRYPT"]
KEYS = {
    "good": ("AES_256", USAGE, "ENABLED"),
    "other": ("AES_256", USAGE, "ENABLED"),
    "disabled": ("AES_256", USAGE, "DISABLED"),
    "wrong-spec": ("RSA_2048", USAGE, "ENABLED"),
    "no-decrypt": ("AES_256", ["ENCRYPT"], "ENABLED"),
}
REFUSALS = {
    "denied": (403, "AccessDeniedException"),
    "path": (404, "InvalidUriPathException"),
    "internal": (500, "InternalException"),
    "throttled": (429, "ThrottlingException"),
}


class Refused(Exception):
    pass


def refuse(status, name):
    raise Refused(status, name)


def bits(request, name):
    return base64.b64decode(request.get(name, ""))


def text(data):
    return base64.b64encode(data).decode()


def encrypt(request):
    plaintext, aad = bits(request, "plaintext"), bits(request, "additionalAuthenticatedData")
    vector, metadata = os.urandom(12), b"mine"
    sealed = KEY.encrypt(vector, plaintext, aad + metadata)
    ciphertext, tag = sealed[:-16], sealed[-16:]
    integrity = hashlib.sha256(aad + metadata + vector + ciphertext + tag).digest()
    return {"ciphertext": text(ciphertext), "initializationVector": text(vector), "authenticationTag": text(tag),
            "ciphertextMetadata": text(metadata), "ciphertextDataIntegrityValue": text(integrity)}


def decrypt(request):
    aad = bits(request, "additionalAuthenticatedData") + bits(request, "ciphertextMetadata")
    sealed = bits(request, "ciphertext") + bits(request, "authenticationTag")
    try:
        return {"plaintext": text(KEY.decrypt(bits(request, "initializationVector"), sealed, aad))}
    except Exception:
        refuse(400, "InvalidCiphertextException")


def health(status):
    return {"xksProxyFleetSize": 1, "xksProxyVendor": "tests", "xksProxyModel": "1", "ekmVendor": "tests",
            "ekmFleetDetails": [{"id": "1", "model": "1", "healthStatus": status}]}


def answer(path, request, authorization, mode):
    if mode in REFUSALS:
        refuse(*REFUSALS[mode])
    if "Credential=AAAAAAAAAAAAAAAAAAAA/" not in authorization and "Credential=BBBBBBBBBBBBBBBBBBBB/" not in authorization:
        refuse(401, "AuthenticationFailedException")
    if path == "/kms/xks/v1/health":
        return health("UNAVAILABLE" if mode == "unavailable" else "ACTIVE")
    if not path.startswith("/kms/xks/v1/keys/"):
        refuse(404, "InvalidUriPathException")
    key, operation = path.split("/")[-2:]
    if key not in KEYS:
        refuse(404, "KeyNotFoundException")
    spec, usage, status = KEYS[key]
    if operation == "metadata":
        return {"keySpec": spec, "keyUsage": usage, "keyStatus": status}
    return {"encrypt": encrypt, "decrypt": decrypt}[operation](request)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with open(os.path.join(HOME, "mode")) as file:
            mode = file.read()
        if mode == "slow":
            time.sleep(0.6)
        try:
            status, out = 200, answer(self.path, json.loads(body), self.headers["Authorization"], mode)
        except Refused as refused:
            status, out = refused.args[0], {"errorName": refused.args[1], "errorMessage": "as told"}
        data = b"nonsense" if mode == "nonsense" else json.dumps(out).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments):
        pass


with open(os.path.join(HOME, "mode"), "w") as file:
    file.write("good")
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
print(server.server_address[1], flush=True)
server.serve_forever()
