"""Custom key stores through boto3: keys in a group of partitions, keys behind a proxy. Each function is a scenario."""

import json
import os
import subprocess
import sys
import time

import boto3
import botocore.exceptions

PASSWORD = "kmsUser1secret"
SO_PIN = "officer4711"
CONTEXT = {"purpose": "test"}
PATIENCE = 90


def client():
    return boto3.client("kms")


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except botocore.exceptions.ClientError as error:
        assert error.response["Error"]["Code"] == code, error.response
        return error.response
    raise AssertionError("not refused: %r" % arguments)


def hsmctl(*arguments, answer=True):
    command = [os.environ["HSMCTL"], "--endpoint", os.environ["HSMD_ENDPOINT"], *arguments]
    done = subprocess.run(command + (["-o", "json"] if answer else []), capture_output=True, text=True)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return json.loads(done.stdout) if answer and done.stdout.strip() else None


def kept(name, value=None):
    """A text that later scenarios of the same daemon find."""
    path = os.path.join(os.environ["HOME"], name)
    if value is not None:
        with open(path, "w") as file:
            file.write(value)
        os.chmod(path, 0o600)
        return path
    with open(path) as file:
        return file.read()


def hsms(count):
    while len(found := [hsm["id"] for hsm in hsmctl("hsm", "list")]) < count:
        hsmctl("hsm", "create")
    return sorted(found)


def partition(label, hsm, *pins):
    (made,) = hsmctl("partition", "create", label, "--hsm", hsm, *pins)
    return made["serial"]


def clusters():
    return {cluster["ClusterId"]: cluster for cluster in boto3.client("cloudhsmv2").describe_clusters()["Clusters"]}


def group(label, members):
    """A group, as a cluster."""
    before = clusters()
    hsmctl("group", "create", label)
    if members:
        hsmctl("group", "add", label, *members)
    (made,) = set(clusters()) - set(before)
    return made


def pins():
    return ["--so-pin-file", kept("so.pin", SO_PIN), "--pin-file", kept("user.pin", PASSWORD)]


def with_officer_only(serial, label):
    (slot,) = {row["slot"] for row in hsmctl("partition", "list") if row["serial"] == serial}
    command = [sys.executable, "-c", INITIALISE, os.environ["HSMD_PKCS11_MODULE"], str(slot), SO_PIN, label]
    subprocess.run(command, check=True)


def cluster(label="group"):
    """A cluster of two HSMs, whose user has PASSWORD."""
    one, two = hsms(2)[:2]
    return group(label, [partition(label + "-1", one, *pins()), partition(label + "-2", two)])


def anchor():
    return next(iter(clusters().values()))["Certificates"]["ClusterCertificate"]


def wanted(name, cluster_id, **more):
    return {"CustomKeyStoreName": name, "CloudHsmClusterId": cluster_id, "TrustAnchorCertificate": anchor(),
            "KeyStorePassword": PASSWORD, **more}


def shown(store):
    (found,) = client().describe_custom_key_stores(CustomKeyStoreId=store)["CustomKeyStores"]
    return found


def await_state(store, state, code=None):
    deadline = time.monotonic() + PATIENCE
    while True:
        found = shown(store)
        if found["ConnectionState"] == state and code in (None, found.get("ConnectionErrorCode")):
            assert ("ConnectionErrorCode" in found) == (state == "FAILED"), found
            return found
        assert time.monotonic() < deadline, (state, code, found)
        time.sleep(0.05)


def connect(store):
    client().connect_custom_key_store(CustomKeyStoreId=store)
    await_state(store, "CONNECTED")


def disconnect(store):
    client().disconnect_custom_key_store(CustomKeyStoreId=store)
    await_state(store, "DISCONNECTED")


def connected(label="group"):
    store = client().create_custom_key_store(**wanted(label, cluster(label)))["CustomKeyStoreId"]
    connect(store)
    return store


def new_key(store, **more):
    return client().create_key(Origin="AWS_CLOUDHSM", CustomKeyStoreId=store, **more)["KeyMetadata"]


def state(key):
    return client().describe_key(KeyId=key)["KeyMetadata"]["KeyState"]


def life_of_a_store():
    c = client()
    cluster_id = cluster()
    made = clusters()[cluster_id]
    assert made["State"] == "ACTIVE" and len(made["Hsms"]) == 2, made
    asked = wanted("first", cluster_id)
    store = c.create_custom_key_store(**asked)["CustomKeyStoreId"]
    assert c.create_custom_key_store(**asked)["CustomKeyStoreId"] == store, "the same again is no error"
    found = shown(store)
    assert found["ConnectionState"] == "DISCONNECTED" and found["CustomKeyStoreType"] == "AWS_CLOUDHSM", found
    assert found["CloudHsmClusterId"] == cluster_id and PASSWORD not in str(found)
    named = c.describe_custom_key_stores(CustomKeyStoreName="first")["CustomKeyStores"]
    assert named == [found] == c.describe_custom_key_stores()["CustomKeyStores"]
    refused("CustomKeyStoreInvalidStateException", c.create_key, Origin="AWS_CLOUDHSM", CustomKeyStoreId=store)
    connect(store)
    c.connect_custom_key_store(CustomKeyStoreId=store)
    key = new_key(store, Description="in the group")
    assert key["KeyState"] == "Enabled" and key["Origin"] == "AWS_CLOUDHSM", key
    assert key["CustomKeyStoreId"] == store and key["CloudHsmClusterId"] == cluster_id, key
    arn = key["Arn"]
    assert {"KeyId": key["KeyId"], "KeyArn": arn} in c.list_keys()["Keys"]
    works_with(arn)
    assert len(c.generate_random(NumberOfBytes=32, CustomKeyStoreId=store)["Plaintext"]) == 32
    refused_on_its_keys(arn)
    sealed = c.encrypt(KeyId=arn, Plaintext=b"text", EncryptionContext=CONTEXT)["CiphertextBlob"]
    off, leaving = new_key(store)["KeyId"], new_key(store)["KeyId"]
    c.disable_key(KeyId=off)
    c.schedule_key_deletion(KeyId=leaving, PendingWindowInDays=7)
    refused("CustomKeyStoreInvalidStateException", c.delete_custom_key_store, CustomKeyStoreId=store)
    disconnect(store)
    while_it_is_disconnected(store, key, off, leaving, sealed)
    connect(store)
    assert [state(each) for each in (arn, off, leaving)] == ["Enabled", "Disabled", "PendingDeletion"]
    assert c.decrypt(CiphertextBlob=sealed, EncryptionContext=CONTEXT)["Plaintext"] == b"text"


def works_with(arn):
    c = client()
    other = c.create_key()["KeyMetadata"]["Arn"]
    sealed = c.encrypt(KeyId=arn, Plaintext=b"text", EncryptionContext=CONTEXT)["CiphertextBlob"]
    opened = c.decrypt(CiphertextBlob=sealed, EncryptionContext=CONTEXT)
    assert opened["Plaintext"] == b"text" and opened["KeyId"] == arn
    refused("InvalidCiphertextException", c.decrypt, CiphertextBlob=sealed)
    for source, to in ((arn, other), (other, arn)):
        sealed = c.encrypt(KeyId=source, Plaintext=b"moved")["CiphertextBlob"]
        sealed = c.re_encrypt(CiphertextBlob=sealed, DestinationKeyId=to)["CiphertextBlob"]
        assert c.decrypt(CiphertextBlob=sealed, KeyId=to)["Plaintext"] == b"moved"
    made = c.generate_data_key(KeyId=arn, KeySpec="AES_256")
    assert c.decrypt(CiphertextBlob=made["CiphertextBlob"])["Plaintext"] == made["Plaintext"]
    c.generate_data_key_without_plaintext(KeyId=arn, NumberOfBytes=64)


def refused_on_its_keys(arn):
    c = client()
    for call in (c.get_key_rotation_status, c.get_public_key):
        refused("UnsupportedOperationException", call, KeyId=arn)
    refused("InvalidKeyUsageException", c.sign, KeyId=arn, Message=b"x", SigningAlgorithm="ECDSA_SHA_256")
    refused("InvalidKeyUsageException", c.generate_mac, KeyId=arn, Message=b"x", MacAlgorithm="HMAC_SHA_256")


def while_it_is_disconnected(store, key, off, leaving, sealed):
    c, arn = client(), key["Arn"]
    assert [state(each) for each in (arn, off, leaving)] == ["Unavailable", "Unavailable", "PendingDeletion"]
    assert c.describe_key(KeyId=arn)["KeyMetadata"]["Enabled"] is False
    for each in (arn, off, leaving):
        refused("KMSInvalidStateException", c.encrypt, KeyId=each, Plaintext=b"x")
    refused("KMSInvalidStateException", c.decrypt, CiphertextBlob=sealed, EncryptionContext=CONTEXT)
    refused("KMSInvalidStateException", c.generate_data_key, KeyId=arn, KeySpec="AES_256")
    refused("KMSInvalidStateException", c.cancel_key_deletion, KeyId=arn)
    refused("CustomKeyStoreInvalidStateException", c.generate_random, NumberOfBytes=8, CustomKeyStoreId=store)
    refused("CustomKeyStoreInvalidStateException", c.create_key, Origin="AWS_CLOUDHSM", CustomKeyStoreId=store)
    refused("CustomKeyStoreInvalidStateException", c.disconnect_custom_key_store, CustomKeyStoreId=store)
    refused("CustomKeyStoreHasCMKsException", c.delete_custom_key_store, CustomKeyStoreId=store)
    # These work, and take effect when the store is back.
    c.disable_key(KeyId=arn)
    c.enable_key(KeyId=arn)
    c.create_alias(AliasName="alias/away", TargetKeyId=arn)
    c.tag_resource(KeyId=arn, Tags=[{"TagKey": "a", "TagValue": "b"}])
    c.update_key_description(KeyId=arn, Description="away")
    c.get_key_policy(KeyId=arn)


def rules_of_stores():
    c = client()
    cluster_id = cluster()
    asked = wanted("first", cluster_id)
    create = c.create_custom_key_store
    refused("ValidationException", create, CustomKeyStoreName="x")
    refused("ValidationException", create, **{**asked, "XksProxyUriPath": "/kms/xks/v1"})
    refused("CloudHsmClusterNotFoundException", create, **{**asked, "CloudHsmClusterId": "cluster-234567abcdef"})
    refused("IncorrectTrustAnchorException", create, **{**asked, "TrustAnchorCertificate": "nonsense"})
    one = group("alone", [partition("alone-1", hsms(1)[0], *pins())])
    refused("CloudHsmClusterInvalidConfigurationException", create, **wanted("x", one))
    refused("CloudHsmClusterNotActiveException", create, **wanted("x", group("empty", [])))
    own = [row["serial"] for row in hsmctl("partition", "list") if row.get("token_label") == "demo"]
    ours = group("ours", own + [partition("ours-2", other_hsm(own[0]))])
    refused("CloudHsmClusterInvalidConfigurationException", create, **wanted("x", ours))
    store = create(**asked)["CustomKeyStoreId"]
    refused("CustomKeyStoreNameInUseException", create, **{**asked, "KeyStorePassword": "otherPassword1"})
    refused("CloudHsmClusterInUseException", create, **{**asked, "CustomKeyStoreName": "second"})
    refused("CustomKeyStoreNotFoundException", c.connect_custom_key_store, CustomKeyStoreId="cks-1")
    refused("CustomKeyStoreNotFoundException", c.describe_custom_key_stores, CustomKeyStoreName="nobody")
    refused("ValidationException", c.describe_custom_key_stores, CustomKeyStoreName="first", CustomKeyStoreId=store)
    refused("InvalidMarkerException", c.describe_custom_key_stores, Marker="x")
    rules_of_updates(store, one)
    rules_of_keys(store)
    client().delete_custom_key_store(CustomKeyStoreId=store)
    refused("CustomKeyStoreNotFoundException", c.describe_custom_key_stores, CustomKeyStoreId=store)
    create(**asked)


def other_hsm(serial):
    rows = hsmctl("partition", "list")
    (taken,) = {row["hsm_arn"] for row in rows if row["serial"] == serial}
    return next(hsm for hsm in hsms(2) if not taken.endswith(hsm))


def rules_of_updates(store, unrelated):
    c = client()
    update = c.update_custom_key_store
    refused("ValidationException", update, CustomKeyStoreId=store)
    refused("ValidationException", update, CustomKeyStoreId=store, XksProxyUriPath="/kms/xks/v1")
    refused("CustomKeyStoreNotFoundException", update, CustomKeyStoreId="cks-1", NewCustomKeyStoreName="x")
    refused("CloudHsmClusterNotRelatedException", update, CustomKeyStoreId=store, CloudHsmClusterId=unrelated)
    refused("CloudHsmClusterNotFoundException", update, CustomKeyStoreId=store, CloudHsmClusterId="cluster-234567abcdef")
    update(CustomKeyStoreId=store, CloudHsmClusterId=shown(store)["CloudHsmClusterId"])
    connect(store)
    update(CustomKeyStoreId=store, NewCustomKeyStoreName="renamed")
    assert shown(store)["CustomKeyStoreName"] == "renamed"
    refused("CustomKeyStoreInvalidStateException", update, CustomKeyStoreId=store, KeyStorePassword="anotherOne1")
    refused("CustomKeyStoreInvalidStateException", update, CustomKeyStoreId=store,
            CloudHsmClusterId=shown(store)["CloudHsmClusterId"])
    disconnect(store)


def rules_of_keys(store):
    create, cloudhsm = client().create_key, {"Origin": "AWS_CLOUDHSM", "CustomKeyStoreId": store}
    refused("ValidationException", create, Origin="AWS_CLOUDHSM")
    refused("ValidationException", create, CustomKeyStoreId=store)
    refused("ValidationException", create, Origin="AWS_CLOUDHSM", CustomKeyStoreId=store, XksKeyId="x")
    refused("ValidationException", create, Origin="EXTERNAL_KEY_STORE", CustomKeyStoreId=store, XksKeyId="x")
    refused("CustomKeyStoreNotFoundException", create, Origin="AWS_CLOUDHSM", CustomKeyStoreId="cks-1")
    refused("UnsupportedOperationException", create, KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT", **cloudhsm)
    refused("UnsupportedOperationException", create, KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC", **cloudhsm)
    refused("UnsupportedOperationException", create, MultiRegion=True, **cloudhsm)


def connections_that_fail():
    c = client()
    cluster_id = cluster()
    store = c.create_custom_key_store(**wanted("wrong", cluster_id, KeyStorePassword="wrongPassword1"))["CustomKeyStoreId"]
    c.connect_custom_key_store(CustomKeyStoreId=store)
    await_state(store, "FAILED", "INVALID_CREDENTIALS")
    refused("CustomKeyStoreInvalidStateException", c.connect_custom_key_store, CustomKeyStoreId=store)
    refused("CustomKeyStoreInvalidStateException", c.update_custom_key_store, CustomKeyStoreId=store, KeyStorePassword=PASSWORD)
    refused("CustomKeyStoreInvalidStateException", c.delete_custom_key_store, CustomKeyStoreId=store)
    disconnect(store)
    c.update_custom_key_store(CustomKeyStoreId=store, KeyStorePassword=PASSWORD)
    login = open_session(described("group")["serial"], PASSWORD)
    c.connect_custom_key_store(CustomKeyStoreId=store)
    await_state(store, "FAILED", "USER_LOGGED_IN")
    login.stdin.close()
    assert login.wait() == 0
    disconnect(store)
    connect(store)
    # The security officer gives the user another PIN: nobody asked KMS.
    reset_the_password()
    await_state(store, "FAILED", "INVALID_CREDENTIALS")
    disconnect(store)
    c.update_custom_key_store(CustomKeyStoreId=store, KeyStorePassword=PASSWORD)
    connect(store)
    disconnect(store)
    # Nobody's password any more, until the role is locked.
    c.update_custom_key_store(CustomKeyStoreId=store, KeyStorePassword="wrongPassword1")
    for _ in range(11):
        c.connect_custom_key_store(CustomKeyStoreId=store)
        failed = await_state(store, "FAILED")
        disconnect(store)
        if failed["ConnectionErrorCode"] == "USER_LOCKED_OUT":
            break
    assert failed["ConnectionErrorCode"] == "USER_LOCKED_OUT", failed
    hsmctl("group", "delete", "group", "--yes", answer=False)
    c.connect_custom_key_store(CustomKeyStoreId=store)
    await_state(store, "FAILED", "CLUSTER_NOT_FOUND")
    one, two = hsms(2)[:2]
    members = [partition("nobody-1", one), partition("nobody-2", two)]
    with_officer_only(members[0], "nobody")
    nobody = group("nobody", members)
    store = c.create_custom_key_store(**wanted("nobody", nobody))["CustomKeyStoreId"]
    c.connect_custom_key_store(CustomKeyStoreId=store)
    await_state(store, "FAILED", "USER_NOT_FOUND")


def described(label):
    found = hsmctl("group", "describe", label)
    return found[0] if isinstance(found, list) else found


INITIALISE = """
import sys, PyKCS11
lib = PyKCS11.PyKCS11Lib(); lib.load(sys.argv[1]); lib.getSlotList()
lib.initToken(int(sys.argv[2]), sys.argv[3], sys.argv[4])
"""
SESSION = """
import sys, PyKCS11
lib = PyKCS11.PyKCS11Lib(); lib.load(sys.argv[1])
slot = next(s for s in lib.getSlotList(tokenPresent=True) if lib.getTokenInfo(s).serialNumber.strip() == sys.argv[2])
session = lib.openSession(slot); session.login(sys.argv[3])
print("in", flush=True); sys.stdin.read(); session.logout()
"""


def open_session(serial, pin):
    """A program that is logged in until its input ends."""
    command = [sys.executable, "-c", SESSION, os.environ["HSMD_PKCS11_MODULE"], serial, pin]
    program = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert program.stdout.readline() == "in\n"
    return program


def members_that_are_away():
    c = client()
    store = connected()
    key = new_key(store)["Arn"]
    sealed = c.encrypt(KeyId=key, Plaintext=b"text")["CiphertextBlob"]
    one, two = hsms(2)[:2]
    hsmctl("hsm", "suspend", two, answer=False)
    assert c.decrypt(CiphertextBlob=sealed)["Plaintext"] == b"text", "one is enough"
    refused("CloudHsmClusterInvalidConfigurationException", new_key, store=store)
    assert next(iter(clusters().values()))["State"] == "DEGRADED"
    hsmctl("hsm", "suspend", one, answer=False)
    refused("KMSInvalidStateException", c.decrypt, CiphertextBlob=sealed)
    await_state(store, "FAILED", "INSUFFICIENT_CLOUDHSM_HSMS")
    assert state(key) == "Unavailable"
    hsmctl("hsm", "resume", one, answer=False)
    await_state(store, "CONNECTED")
    assert c.decrypt(CiphertextBlob=sealed)["Plaintext"] == b"text"
    disconnect(store)
    hsmctl("hsm", "suspend", one, answer=False)
    c.connect_custom_key_store(CustomKeyStoreId=store)
    await_state(store, "FAILED", "INSUFFICIENT_CLOUDHSM_HSMS")
    hsmctl("hsm", "resume", one, answer=False)
    hsmctl("hsm", "resume", two, answer=False)
    disconnect(store)
    connect(store)
    new_key(store)


def before_a_kill():
    store = connected()
    key = new_key(store)["Arn"]
    sealed = client().encrypt(KeyId=key, Plaintext=b"lasting")["CiphertextBlob"]
    kept("facts", json.dumps({"store": store, "key": key, "sealed": sealed.hex()}))


def while_the_daemon_is_away():
    facts = json.loads(kept("facts"))
    refused("KMSInvalidStateException", client().decrypt, CiphertextBlob=bytes.fromhex(facts["sealed"]))
    await_state(facts["store"], "FAILED", "NETWORK_ERRORS")
    assert state(facts["key"]) == "Unavailable"
    refused("KMSInvalidStateException", client().encrypt, KeyId=facts["key"], Plaintext=b"x")


def after_a_kill():
    facts = json.loads(kept("facts"))
    await_state(facts["store"], "CONNECTED")
    assert client().decrypt(CiphertextBlob=bytes.fromhex(facts["sealed"]))["Plaintext"] == b"lasting"
    assert state(facts["key"]) == "Enabled"
    new_key(facts["store"])


def ask_to_connect():
    store = json.loads(kept("facts"))["store"]
    disconnect(store)
    client().connect_custom_key_store(CustomKeyStoreId=store)


def a_store_to_look_into():
    """For the AWS CLI and pkcs11-tool."""
    kept("cluster", cluster())
    kept("anchor", anchor())


def reset_the_password():
    hsmctl("partition", "reset-pin", described("group")["partitions"][0], *pins(), answer=False)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
