"""External key stores through boto3, before the proxy of `proxy.py`. Each function is a scenario."""

import json
import os
import sys
import time

import botocore.exceptions

from stores import PATIENCE, await_state, client, connect, disconnect, kept, refused, shown, state

ENDPOINT = "https://xks.test"
GOOD = {"AccessKeyId": "A" * 20, "RawSecretAccessKey": "c2VjcmV0IG9mIHRoZSBwcm94eSBmb3IgdGVzdHMgb25seQ=="}
NEWER = {"AccessKeyId": "B" * 20, "RawSecretAccessKey": "YW5vdGhlciBzZWNyZXQgb2YgdGhlIHByb3h5IGZvciB0ZXN0cw=="}
STRANGE = {"AccessKeyId": "C" * 20, "RawSecretAccessKey": GOOD["RawSecretAccessKey"]}
CONTEXT = {"purpose": "test"}


def mode(word):
    """How the proxy behaves from now on; by rename, so that it never reads half of it."""
    path = kept("mode.new", word)
    os.replace(path, os.path.join(os.environ["HOME"], "mode"))


def in_time(call, **arguments):
    """A call that the proxy answers in time: 250 ms are short on a machine with other things to do."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return call(**arguments)
        except botocore.exceptions.ClientError as error:
            words = error.response["Error"]["Message"]
            late = "in time" in words or "unavailable" in words or "is FAILED" in words
            assert late and time.monotonic() < deadline, error.response
            time.sleep(0.1)


def refused_in_time(code, call, **arguments):
    """A refusal for another reason than that the proxy was late."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            call(**arguments)
        except botocore.exceptions.ClientError as error:
            if error.response["Error"]["Code"] == code:
                return error.response
            assert "in time" in str(error) or "is FAILED" in str(error), error.response
        assert time.monotonic() < deadline, (code, arguments)
        time.sleep(0.1)


def wanted(name, endpoint=ENDPOINT, path="/kms/xks/v1", credential=GOOD, **more):
    return {"CustomKeyStoreName": name, "CustomKeyStoreType": "EXTERNAL_KEY_STORE", "XksProxyUriEndpoint": endpoint,
            "XksProxyUriPath": path, "XksProxyConnectivity": "PUBLIC_ENDPOINT",
            "XksProxyAuthenticationCredential": credential, **more}


def created(**more):
    return in_time(client().create_custom_key_store, **wanted("outside", **more))["CustomKeyStoreId"]


def connected():
    store = created()
    while True:
        client().connect_custom_key_store(CustomKeyStoreId=store)
        found = shown(store)
        while found["ConnectionState"] == "CONNECTING":
            found = shown(store)
        if found["ConnectionState"] == "CONNECTED":
            return store
        assert found["ConnectionErrorCode"] == "XKS_PROXY_TIMED_OUT", found
        disconnect(store)


def life_of_an_external_store():
    c = client()
    store = connected()
    found = shown(store)
    assert found["XksProxyConfiguration"] == {"Connectivity": "PUBLIC_ENDPOINT", "AccessKeyId": "A" * 20,
                                              "UriEndpoint": ENDPOINT, "UriPath": "/kms/xks/v1"}, found
    assert GOOD["RawSecretAccessKey"] not in str(found)
    asked = {"Origin": "EXTERNAL_KEY_STORE", "CustomKeyStoreId": store}
    key = in_time(c.create_key, XksKeyId="good", **asked)["KeyMetadata"]
    assert key["Origin"] == "EXTERNAL_KEY_STORE" and key["XksKeyConfiguration"] == {"Id": "good"}, key
    arn = key["Arn"]
    sealed = in_time(c.encrypt, KeyId=arn, Plaintext=b"text", EncryptionContext=CONTEXT)["CiphertextBlob"]
    opened = in_time(c.decrypt, CiphertextBlob=sealed, EncryptionContext=CONTEXT)
    assert opened["Plaintext"] == b"text" and opened["KeyId"] == arn
    refused_in_time("KMSInvalidStateException", c.decrypt, CiphertextBlob=sealed)
    made = in_time(c.generate_data_key, KeyId=arn, KeySpec="AES_256")
    assert in_time(c.decrypt, CiphertextBlob=made["CiphertextBlob"])["Plaintext"] == made["Plaintext"]
    long = in_time(c.encrypt, KeyId=arn, Plaintext=b"x" * 4096)["CiphertextBlob"]
    assert in_time(c.decrypt, CiphertextBlob=long)["Plaintext"] == b"x" * 4096
    refused_in_time("XksKeyAlreadyInUseException", c.create_key, XksKeyId="good", **asked)
    refused_in_time("XksKeyNotFoundException", c.create_key, XksKeyId="nobody", **asked)
    for name in ("disabled", "wrong-spec", "no-decrypt"):
        refused_in_time("XksKeyInvalidConfigurationException", c.create_key, XksKeyId=name, **asked)
    refused("ValidationException", c.create_key, **asked)
    refused("ValidationException", c.create_key, Origin="AWS_CLOUDHSM", CustomKeyStoreId=store)
    refused("UnsupportedOperationException", c.generate_random, NumberOfBytes=8, CustomKeyStoreId=store)
    for word in ("denied", "slow", "internal", "nonsense"):
        mode(word)
        refused("KMSInvalidStateException", c.encrypt, KeyId=arn, Plaintext=b"x")
    mode("good")
    await_state(store, "CONNECTED")
    update = c.update_custom_key_store
    in_time(update, CustomKeyStoreId=store, XksProxyAuthenticationCredential=NEWER)
    assert shown(store)["XksProxyConfiguration"]["AccessKeyId"] == "B" * 20
    assert in_time(c.decrypt, CiphertextBlob=sealed, EncryptionContext=CONTEXT)["Plaintext"] == b"text"
    refused("CustomKeyStoreInvalidStateException", update, CustomKeyStoreId=store, XksProxyUriEndpoint="https://other.test")
    refused("ValidationException", update, CustomKeyStoreId=store, KeyStorePassword="password1")
    disconnect(store)
    assert state(arn) == "Unavailable"
    refused("KMSInvalidStateException", c.encrypt, KeyId=arn, Plaintext=b"x")
    refused("CustomKeyStoreHasCMKsException", c.delete_custom_key_store, CustomKeyStoreId=store)


def proxies_that_do_not_serve():
    c = client()
    create = c.create_custom_key_store
    refused("XksProxyUriUnreachableException", create, **wanted("x", endpoint="https://gone.test"))
    refused("XksProxyUriUnreachableException", create, **wanted("x", endpoint="https://other.test"))
    refused_in_time("XksProxyIncorrectAuthenticationCredentialException", create, **wanted("x", credential=STRANGE))
    refused_in_time("XksProxyInvalidConfigurationException", create, **wanted("x", path="/else/kms/xks/v1"))
    service = "com.amazonaws.vpce.us-east-1.vpce-svc-0123456789abcdef0"
    refused("XksProxyVpcEndpointServiceNotFoundException", create,
            **{**wanted("x", endpoint="https://nowhere.test"), "XksProxyConnectivity": "VPC_ENDPOINT_SERVICE",
               "XksProxyVpcEndpointServiceName": service})
    refused("ValidationException", create, **{**wanted("x"), "XksProxyConnectivity": "VPC_ENDPOINT_SERVICE"})
    refused("ValidationException", create, **wanted("x", CloudHsmClusterId="cluster-234567abcdef"))
    without = wanted("x")
    del without["XksProxyAuthenticationCredential"]
    refused("ValidationException", create, **without)
    for word, code in (("nonsense", "XksProxyInvalidResponseException"), ("slow", "XksProxyUriUnreachableException")):
        mode(word)
        refused_in_time(code, create, **wanted("x"))
    mode("good")
    store = created()
    refused("XksProxyUriInUseException", create, **wanted("second"))
    refused("CustomKeyStoreNameInUseException", create, **wanted("outside", path="/else/kms/xks/v1"))
    codes = {"denied": "XKS_PROXY_ACCESS_DENIED", "path": "XKS_PROXY_INVALID_CONFIGURATION",
             "nonsense": "XKS_PROXY_INVALID_RESPONSE", "unavailable": "XKS_PROXY_NOT_REACHABLE", "slow": "XKS_PROXY_TIMED_OUT"}
    for word, code in codes.items():
        mode(word)
        c.connect_custom_key_store(CustomKeyStoreId=store)
        await_state(store, "FAILED", code)
        disconnect(store)
    mode("good")
    connect(store)
    key = in_time(c.create_key, Origin="EXTERNAL_KEY_STORE", CustomKeyStoreId=store, XksKeyId="good")["KeyMetadata"]["Arn"]
    sealed = in_time(c.encrypt, KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    mode("slow")
    refused("KMSInvalidStateException", c.decrypt, CiphertextBlob=sealed)
    await_state(store, "FAILED", "XKS_PROXY_TIMED_OUT")
    assert state(key) == "Unavailable"
    mode("good")
    await_state(store, "CONNECTED")
    assert in_time(c.decrypt, CiphertextBlob=sealed)["Plaintext"] == b"x"


if __name__ == "__main__":
    globals()[sys.argv[1]]()
