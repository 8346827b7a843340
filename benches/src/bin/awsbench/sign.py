"""Makes a key with boto3 and prints the requests that boto3 would send for it, signed, one JSON object a line."""

import json
import os

import boto3

TEXT = bytes(32)
kms = boto3.client("kms")
key = kms.create_key()["KeyMetadata"]["KeyId"]
calls = {
    "Encrypt": lambda: kms.encrypt(KeyId=key, Plaintext=TEXT),
    "GenerateDataKey": lambda: kms.generate_data_key(KeyId=key, KeySpec="AES_256"),
}
sent = []
kms.meta.events.register("before-send.kms", lambda request, **_: sent.append(request))
for name, call in calls.items():
    call()
    request = sent.pop()
    text = lambda value: value.decode() if isinstance(value, bytes) else str(value)
    headers = {text(header): text(value) for header, value in request.headers.items()}
    headers["Host"] = os.environ["AWS_ENDPOINT_URL"].split("//")[1]
    print(json.dumps({"operation": name, "headers": headers, "body": text(request.body)}))
