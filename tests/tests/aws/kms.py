"""KMS through boto3, on keys in a partition of hsmd. Each function is a scenario."""

import base64
import datetime
import hashlib
import os
import sys

import boto3
import botocore.exceptions
from asn1crypto import keys as asn1

SPECS = {
    "RSA_2048": ["RSASSA_PKCS1_V1_5_SHA_256", "RSASSA_PSS_SHA_384"],
    "ECC_NIST_P256": ["ECDSA_SHA_256"],
    "ECC_NIST_P384": ["ECDSA_SHA_384"],
    "ECC_NIST_P521": ["ECDSA_SHA_512"],
    "ECC_SECG_P256K1": ["ECDSA_SHA_256"],
}


def client():
    return boto3.client("kms")


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except botocore.exceptions.ClientError as error:
        assert error.response["Error"]["Code"] == code, error.response
        return error.response
    raise AssertionError("not refused: %r" % arguments)


def life_of_a_key():
    c = client()
    made = c.create_key(Description="first", Tags=[{"TagKey": "team", "TagValue": "web"}])["KeyMetadata"]
    assert made["KeyState"] == "Enabled" and made["KeySpec"] == "SYMMETRIC_DEFAULT", made
    assert made["EncryptionAlgorithms"] == ["SYMMETRIC_DEFAULT"] and made["Origin"] == "AWS_KMS"
    age = datetime.datetime.now(datetime.timezone.utc) - made["CreationDate"]
    assert abs(age.total_seconds()) < 600, made
    key, arn = made["KeyId"], made["Arn"]
    assert c.describe_key(KeyId=arn)["KeyMetadata"] == made
    assert {"KeyId": key, "KeyArn": arn} in c.list_keys()["Keys"]
    c.update_key_description(KeyId=key, Description="second")
    assert c.describe_key(KeyId=key)["KeyMetadata"]["Description"] == "second"
    c.tag_resource(KeyId=key, Tags=[{"TagKey": "a", "TagValue": ""}])
    c.untag_resource(KeyId=key, TagKeys=["team", "unknown"])
    assert c.list_resource_tags(KeyId=key)["Tags"] == [{"TagKey": "a", "TagValue": ""}]
    assert "kms:*" in c.get_key_policy(KeyId=key)["Policy"]
    assert c.list_key_policies(KeyId=key)["PolicyNames"] == ["default"]
    refused("MalformedPolicyDocumentException", c.put_key_policy, KeyId=key, Policy="{")
    assert c.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"] is False

    c.disable_key(KeyId=key)
    refused("DisabledException", c.encrypt, KeyId=key, Plaintext=b"x")
    c.enable_key(KeyId=key)
    c.encrypt(KeyId=key, Plaintext=b"x")
    when = c.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    assert when["KeyState"] == "PendingDeletion" and when["KeyId"] == arn
    refused("KMSInvalidStateException", c.encrypt, KeyId=key, Plaintext=b"x")
    refused("KMSInvalidStateException", c.enable_key, KeyId=key)
    assert c.describe_key(KeyId=key)["KeyMetadata"]["DeletionDate"] == when["DeletionDate"]
    c.cancel_key_deletion(KeyId=key)
    assert c.describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "Disabled"
    refused("KMSInvalidStateException", c.cancel_key_deletion, KeyId=key)
    refused("ValidationException", c.schedule_key_deletion, KeyId=key, PendingWindowInDays=6)
    refused("UnsupportedOperationException", c.create_key, MultiRegion=True)
    refused("ValidationException", c.create_key, KeySpec="RSA_2048")


def aliases():
    c = client()
    one = c.create_key()["KeyMetadata"]["KeyId"]
    two = c.create_key()["KeyMetadata"]["KeyId"]
    c.create_alias(AliasName="alias/web", TargetKeyId=one)
    refused("AlreadyExistsException", c.create_alias, AliasName="alias/web", TargetKeyId=two)
    refused("NotAuthorizedException", c.create_alias, AliasName="alias/aws/x", TargetKeyId=two)
    refused("ValidationException", c.create_alias, AliasName="alias/a b", TargetKeyId=two)
    assert c.describe_key(KeyId="alias/web")["KeyMetadata"]["KeyId"] == one
    sealed = c.encrypt(KeyId="alias/web", Plaintext=b"text")["CiphertextBlob"]
    c.update_alias(AliasName="alias/web", TargetKeyId=two)
    found = c.list_aliases(KeyId=two)["Aliases"]
    assert [alias["AliasName"] for alias in found] == ["alias/web"]
    assert c.describe_key(KeyId=found[0]["AliasArn"])["KeyMetadata"]["KeyId"] == two
    assert c.decrypt(CiphertextBlob=sealed)["Plaintext"] == b"text"
    signer = c.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    refused("ValidationException", c.update_alias, AliasName="alias/web", TargetKeyId=signer)
    c.delete_alias(AliasName="alias/web")
    refused("NotFoundException", c.describe_key, KeyId="alias/web")
    pages = [page["Keys"] for page in c.get_paginator("list_keys").paginate(PaginationConfig={"PageSize": 2})]
    assert [len(page) for page in pages] == [2, 1], pages


def encryption():
    c = client()
    key = c.create_key()["KeyMetadata"]["Arn"]
    other = c.create_key()["KeyMetadata"]["Arn"]
    context = {"purpose": "test", "a": ""}
    for text in (b"x", os.urandom(4096)):
        sealed = c.encrypt(KeyId=key, Plaintext=text, EncryptionContext=context)
        assert sealed["KeyId"] == key and sealed["EncryptionAlgorithm"] == "SYMMETRIC_DEFAULT"
        blob = sealed["CiphertextBlob"]
        opened = c.decrypt(CiphertextBlob=blob, EncryptionContext=dict(reversed(context.items())))
        assert opened["Plaintext"] == text and opened["KeyId"] == key
        for wrong in ({}, {"purpose": "test"}, {"purpose": "tes", "ta": ""}):
            refused("InvalidCiphertextException", c.decrypt, CiphertextBlob=blob, EncryptionContext=wrong)
        refused("IncorrectKeyException", c.decrypt, CiphertextBlob=blob, EncryptionContext=context, KeyId=other)
        for at in (0, 5, 20, len(blob) - 1):
            changed = bytearray(blob)
            changed[at] ^= 1
            refused("InvalidCiphertextException", c.decrypt, CiphertextBlob=bytes(changed), EncryptionContext=context)
        moved = c.re_encrypt(CiphertextBlob=blob, SourceEncryptionContext=context, DestinationKeyId=other,
                             DestinationEncryptionContext={"now": "here"})
        assert moved["SourceKeyId"] == key and moved["KeyId"] == other
        assert c.decrypt(CiphertextBlob=moved["CiphertextBlob"], EncryptionContext={"now": "here"})["Plaintext"] == text
    refused("ValidationException", c.encrypt, KeyId=key, Plaintext=bytes(6145))
    refused("DryRunOperationException", c.encrypt, KeyId=key, Plaintext=b"x", DryRun=True)
    refused("NotFoundException", c.encrypt, KeyId="12345678-1234-1234-1234-123456789012", Plaintext=b"x")
    refused("NotFoundException", c.encrypt, KeyId="arn:aws:kms:us-east-1:1:key/x", Plaintext=b"x")

    made = c.generate_data_key(KeyId=key, KeySpec="AES_256", EncryptionContext=context)
    assert len(made["Plaintext"]) == 32
    assert c.decrypt(CiphertextBlob=made["CiphertextBlob"], EncryptionContext=context)["Plaintext"] == made["Plaintext"]
    hidden = c.generate_data_key_without_plaintext(KeyId=key, NumberOfBytes=64)
    assert "Plaintext" not in hidden
    assert len(c.decrypt(CiphertextBlob=hidden["CiphertextBlob"])["Plaintext"]) == 64
    refused("ValidationException", c.generate_data_key, KeyId=key)
    assert len(set(c.generate_random(NumberOfBytes=32)["Plaintext"] for _ in range(8))) == 8

    rsa = c.create_key(KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT")["KeyMetadata"]["Arn"]
    for algorithm in ("RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"):
        blob = c.encrypt(KeyId=rsa, Plaintext=b"hello", EncryptionAlgorithm=algorithm)["CiphertextBlob"]
        assert len(blob) == 256
        assert c.decrypt(KeyId=rsa, CiphertextBlob=blob, EncryptionAlgorithm=algorithm)["Plaintext"] == b"hello"
        refused("InvalidCiphertextException", c.decrypt, KeyId=rsa, CiphertextBlob=blob[:-1] + b"\0",
                EncryptionAlgorithm=algorithm)
    refused("InvalidKeyUsageException", c.encrypt, KeyId=rsa, Plaintext=b"x")
    refused("InvalidKeyUsageException", c.generate_data_key, KeyId=rsa, KeySpec="AES_256")


def signatures():
    c = client()
    message = os.urandom(1000)
    for spec, algorithms in SPECS.items():
        key = c.create_key(KeySpec=spec, KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
        public = c.get_public_key(KeyId=key)
        assert public["KeySpec"] == spec and public["KeyUsage"] == "SIGN_VERIFY"
        asn1.PublicKeyInfo.load(public["PublicKey"]).native
        for algorithm in algorithms:
            name = "sha" + algorithm[-3:]
            digest = hashlib.new(name, message).digest()
            raw = c.sign(KeyId=key, Message=message, SigningAlgorithm=algorithm)["Signature"]
            hashed = c.sign(KeyId=key, Message=digest, MessageType="DIGEST", SigningAlgorithm=algorithm)["Signature"]
            for signature in (raw, hashed):
                for text, kind in ((message, "RAW"), (digest, "DIGEST")):
                    answer = c.verify(KeyId=key, Message=text, MessageType=kind, Signature=signature,
                                      SigningAlgorithm=algorithm)
                    assert answer["SignatureValid"] is True
            refused("KMSInvalidSignatureException", c.verify, KeyId=key, Message=b"other", Signature=raw,
                    SigningAlgorithm=algorithm)
            refused("KMSInvalidSignatureException", c.verify, KeyId=key, Message=message, Signature=b"x",
                    SigningAlgorithm=algorithm)
            refused("ValidationException", c.sign, KeyId=key, Message=b"x", MessageType="DIGEST",
                    SigningAlgorithm=algorithm)
            openssl(public["PublicKey"], message, raw, algorithm)
        refused("InvalidKeyUsageException", c.encrypt, KeyId=key, Plaintext=b"x")
    for bits in (224, 256, 384, 512):
        key = c.create_key(KeySpec="HMAC_%d" % bits, KeyUsage="GENERATE_VERIFY_MAC")["KeyMetadata"]["KeyId"]
        algorithm = "HMAC_SHA_%d" % bits
        mac = c.generate_mac(KeyId=key, Message=message, MacAlgorithm=algorithm)["Mac"]
        assert len(mac) == bits // 8
        assert c.verify_mac(KeyId=key, Message=message, Mac=mac, MacAlgorithm=algorithm)["MacValid"] is True
        refused("KMSInvalidMacException", c.verify_mac, KeyId=key, Message=b"x", Mac=mac, MacAlgorithm=algorithm)


def openssl(public, message, signature, algorithm):
    """A signature that OpenSSL does not accept is none."""
    import subprocess
    home = os.environ["HOME"]
    for name, value in (("public", public), ("message", message), ("signature", signature)):
        with open(os.path.join(home, name), "wb") as file:
            file.write(value)
    command = ["openssl", "dgst", "-sha" + algorithm[-3:], "-keyform", "DER", "-verify", os.path.join(home, "public"),
               "-signature", os.path.join(home, "signature")]
    if "PSS" in algorithm:
        command += ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"]
    subprocess.run(command + [os.path.join(home, "message")], check=True, capture_output=True)


def before_the_restart():
    """Leaves what `after_the_restart` finds."""
    c = client()
    key = c.create_key()["KeyMetadata"]["KeyId"]
    c.create_alias(AliasName="alias/lasting", TargetKeyId=key)
    sealed = c.encrypt(KeyId=key, Plaintext=b"lasting")["CiphertextBlob"]
    with open(os.path.join(os.environ["HOME"], "sealed"), "wb") as file:
        file.write(sealed)


def after_the_restart():
    c = client()
    with open(os.path.join(os.environ["HOME"], "sealed"), "rb") as file:
        sealed = file.read()
    assert c.decrypt(CiphertextBlob=sealed, KeyId="alias/lasting")["Plaintext"] == b"lasting"


if __name__ == "__main__":
    globals()[sys.argv[1]]()
