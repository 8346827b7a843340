"""KMS beyond the use of keys: grants, rotation, imported material, data key pairs, key agreement, policies, key states. Each
function is a scenario. In some the front end's day is short (`day_ms`), so that what waits for days can be seen."""

import datetime
import json
import os
import subprocess
import sys
import time

import boto3
import botocore.exceptions
from cryptography.hazmat.primitives import hashes, keywrap, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

ACCOUNT = "000000000000"
ALICE = "arn:aws:iam::%s:user/alice" % ACCOUNT
BOB = "arn:aws:iam::%s:role/bob" % ACCOUNT
UNKNOWN = "12345678-1234-1234-1234-123456789012"


def client():
    return boto3.client("kms")


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except botocore.exceptions.ClientError as error:
        assert error.response["Error"]["Code"] == code, (code, error.response, arguments)
        return error.response
    raise AssertionError("not refused: %r" % arguments)


def until(holds, what):
    for _ in range(300):
        found = holds()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError("never: " + what)


def make(c, **arguments):
    return c.create_key(**arguments)["KeyMetadata"]


def state(c, key):
    return c.describe_key(KeyId=key)["KeyMetadata"]["KeyState"]


def grants():
    c = client()
    key = make(c)
    one = {"KeyId": key["KeyId"], "GranteePrincipal": ALICE, "RetiringPrincipal": BOB, "Name": "one",
           "Operations": ["Encrypt", "Decrypt"], "Constraints": {"EncryptionContextSubset": {"team": "web"}}}
    first = c.create_grant(**one)
    assert len(first["GrantId"]) == 64
    again = c.create_grant(**dict(one, Operations=["Decrypt", "Encrypt"]))
    assert again["GrantId"] == first["GrantId"] and again["GrantToken"] != first["GrantToken"]
    assert c.create_grant(**dict(one, Operations=["Encrypt"]))["GrantId"] != first["GrantId"]
    nameless = {"KeyId": key["Arn"], "GranteePrincipal": ALICE, "Operations": ["DescribeKey"]}
    assert c.create_grant(**nameless)["GrantId"] != c.create_grant(**nameless)["GrantId"]

    found = {grant["GrantId"]: grant for grant in c.list_grants(KeyId=key["KeyId"])["Grants"]}
    assert len(found) == 4
    shown = found[first["GrantId"]]
    assert shown["KeyId"] == key["Arn"] and shown["Name"] == "one" and shown["GranteePrincipal"] == ALICE
    assert shown["RetiringPrincipal"] == BOB and shown["Constraints"] == one["Constraints"]
    assert shown["Operations"] == ["Encrypt", "Decrypt"]
    assert shown["IssuingAccount"] == "arn:aws:iam::%s:root" % ACCOUNT
    only = c.list_grants(KeyId=key["KeyId"], GrantId=first["GrantId"])["Grants"]
    assert [grant["GrantId"] for grant in only] == [first["GrantId"]]
    assert c.list_grants(KeyId=key["KeyId"], GranteePrincipal=BOB)["Grants"] == []
    pages = [page["Grants"] for page in c.get_paginator("list_grants").paginate(
        KeyId=key["KeyId"], PaginationConfig={"PageSize": 3})]
    assert [len(page) for page in pages] == [3, 1]
    retirable = c.list_retirable_grants(RetiringPrincipal=BOB)["Grants"]
    assert {grant["GrantId"] for grant in retirable} >= {first["GrantId"]} and len(retirable) == 2

    tokens = [first["GrantToken"], again["GrantToken"]]
    sealed = c.encrypt(KeyId=key["KeyId"], Plaintext=b"x", GrantTokens=tokens)["CiphertextBlob"]
    c.decrypt(CiphertextBlob=sealed, GrantTokens=tokens)
    for wrong in ("x", "AAAA", first["GrantToken"][:-4] + "AAAA=", "B" + first["GrantToken"][1:]):
        refused("InvalidGrantTokenException", c.encrypt, KeyId=key["KeyId"], Plaintext=b"x", GrantTokens=[wrong])

    refused("DryRunOperationException", c.retire_grant, GrantToken=first["GrantToken"], DryRun=True)
    c.retire_grant(GrantToken=again["GrantToken"])
    refused("InvalidGrantTokenException", c.retire_grant, GrantToken=first["GrantToken"])
    refused("InvalidGrantTokenException", c.encrypt, KeyId=key["KeyId"], Plaintext=b"x", GrantTokens=tokens)
    other, last = [grant["GrantId"] for grant in c.list_grants(KeyId=key["KeyId"])["Grants"]][:2]
    refused("DryRunOperationException", c.revoke_grant, KeyId=key["KeyId"], GrantId=other, DryRun=True)
    c.revoke_grant(KeyId=key["KeyId"], GrantId=other)
    refused("NotFoundException", c.revoke_grant, KeyId=key["KeyId"], GrantId=other)
    c.retire_grant(KeyId=key["Arn"], GrantId=last)
    assert len(c.list_grants(KeyId=key["KeyId"])["Grants"]) == 1

    good = {"KeyId": key["KeyId"], "GranteePrincipal": ALICE, "Operations": ["Decrypt"]}
    refused("DryRunOperationException", c.create_grant, DryRun=True, **good)
    assert len(c.list_grants(KeyId=key["KeyId"])["Grants"]) == 1
    refused("InvalidArnException", c.create_grant, **dict(good, GranteePrincipal="alice"))
    refused("InvalidArnException", c.create_grant, RetiringPrincipal="arn:aws:s3:::x", **good)
    refused("ValidationException", c.create_grant, **dict(good, Operations=["Sign"]))
    refused("ValidationException", c.create_grant, **dict(good, Operations=[]))
    refused("ValidationException", c.create_grant, Constraints={
        "EncryptionContextSubset": {"a": "b"}, "EncryptionContextEquals": {"a": "b"}}, **good)
    refused("ValidationException", c.create_grant, KeyId=key["KeyId"], Operations=["Decrypt"])
    signer = make(c, KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyId"]
    refused("ValidationException", c.create_grant, KeyId=signer, GranteePrincipal=ALICE, Operations=["Sign"],
            Constraints={"EncryptionContextEquals": {"a": "b"}})
    c.create_grant(KeyId=signer, GranteePrincipal=ALICE, Operations=["Sign", "GetPublicKey"])
    refused("ValidationException", c.retire_grant)
    refused("ValidationException", c.list_retirable_grants)
    refused("InvalidGrantIdException", c.list_grants, KeyId=key["KeyId"], GrantId="x")
    refused("ValidationException", c.list_grants, KeyId=key["KeyId"], Limit=101)
    refused("NotFoundException", c.list_grants, KeyId=UNKNOWN)


def gone(c, key):
    try:
        c.describe_key(KeyId=key)
        return False
    except c.exceptions.NotFoundException:
        return True


def rotation():
    c = client()
    key = make(c)["KeyId"]
    context = {"a": "b"}
    assert c.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"] is False
    sealed = [c.encrypt(KeyId=key, Plaintext=b"0", EncryptionContext=context)["CiphertextBlob"]]
    names = [c.describe_key(KeyId=key)["KeyMetadata"]["CurrentKeyMaterialId"]]
    for turn in range(1, 4):
        assert c.rotate_key_on_demand(KeyId=key)["KeyId"].endswith(key)
        names.append(c.describe_key(KeyId=key)["KeyMetadata"]["CurrentKeyMaterialId"])
        sealed.append(c.encrypt(KeyId=key, Plaintext=b"%d" % turn, EncryptionContext=context)["CiphertextBlob"])
    assert len(set(names)) == 4
    for turn, blob in enumerate(sealed):
        opened = c.decrypt(CiphertextBlob=blob, EncryptionContext=context)
        assert opened["Plaintext"] == b"%d" % turn and opened["KeyMaterialId"] == names[turn], opened
    # The material that a ciphertext names is authenticated.
    mixed = sealed[0][:17] + sealed[1][17:49] + sealed[0][49:]
    refused("InvalidCiphertextException", c.decrypt, CiphertextBlob=mixed, EncryptionContext=context)
    moved = c.re_encrypt(CiphertextBlob=sealed[0], SourceEncryptionContext=context, DestinationKeyId=key)
    assert moved["SourceKeyMaterialId"] == names[0] and moved["DestinationKeyMaterialId"] == names[3]
    assert c.generate_data_key(KeyId=key, KeySpec="AES_256")["KeyMaterialId"] == names[3]

    done = c.list_key_rotations(KeyId=key)["Rotations"]
    assert [row["RotationType"] for row in done] == ["ON_DEMAND"] * 3 and done[0]["RotationDate"] < done[2]["RotationDate"]
    every = c.list_key_rotations(KeyId=key, IncludeKeyMaterial="ALL_KEY_MATERIAL")["Rotations"]
    assert [row["KeyMaterialId"] for row in every] == names
    assert [row["KeyMaterialState"] for row in every] == ["NON_CURRENT"] * 3 + ["CURRENT"]
    pages = [page["Rotations"] for page in c.get_paginator("list_key_rotations").paginate(
        KeyId=key, PaginationConfig={"PageSize": 2})]
    assert [len(page) for page in pages] == [2, 1]

    c.enable_key_rotation(KeyId=key)
    status = c.get_key_rotation_status(KeyId=key)
    assert status["KeyRotationEnabled"] is True and status["RotationPeriodInDays"] == 365, status
    c.enable_key_rotation(KeyId=key, RotationPeriodInDays=90)
    status = c.get_key_rotation_status(KeyId=key)
    assert status["RotationPeriodInDays"] == 90 and "NextRotationDate" in status
    c.disable_key_rotation(KeyId=key)
    assert c.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"] is False

    for spec, usage in (("RSA_2048", "ENCRYPT_DECRYPT"), ("HMAC_256", "GENERATE_VERIFY_MAC")):
        other = make(c, KeySpec=spec, KeyUsage=usage)["KeyId"]
        for call in (c.enable_key_rotation, c.disable_key_rotation, c.get_key_rotation_status, c.rotate_key_on_demand,
                     c.list_key_rotations):
            refused("UnsupportedOperationException", call, KeyId=other)
    for _ in range(22):
        c.rotate_key_on_demand(KeyId=key)
    refused("LimitExceededException", c.rotate_key_on_demand, KeyId=key)


def what_days_bring():
    """A day has 20 ms: 90 of them are under two seconds."""
    c = client()
    key = make(c)["KeyId"]
    # A key that goes takes its grants along.
    ending = make(c, KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyId"]
    c.create_grant(KeyId=ending, GranteePrincipal=ALICE, RetiringPrincipal=BOB, Operations=["Sign"])
    assert len(c.list_retirable_grants(RetiringPrincipal=BOB)["Grants"]) == 1
    c.schedule_key_deletion(KeyId=ending, PendingWindowInDays=7)
    until(lambda: gone(c, ending), "the key is deleted")
    assert c.list_retirable_grants(RetiringPrincipal=BOB)["Grants"] == []
    sealed = c.encrypt(KeyId=key, Plaintext=b"old")["CiphertextBlob"]
    c.enable_key_rotation(KeyId=key, RotationPeriodInDays=90)
    rows = until(lambda: c.list_key_rotations(KeyId=key)["Rotations"], "a rotation")
    assert rows[0]["RotationType"] == "AUTOMATIC", rows
    until(lambda: len(c.list_key_rotations(KeyId=key)["Rotations"]) > 1, "another")
    c.disable_key_rotation(KeyId=key)
    assert c.decrypt(CiphertextBlob=sealed)["Plaintext"] == b"old"


def wrap(parameters, algorithm, material):
    public = serialization.load_der_public_key(parameters["PublicKey"])
    hash = hashes.SHA1() if algorithm.endswith("SHA_1") else hashes.SHA256()
    oaep = padding.OAEP(mgf=padding.MGF1(hash), algorithm=hash, label=None)
    if algorithm.startswith("RSAES"):
        return public.encrypt(material, oaep)
    between = os.urandom(32)
    return public.encrypt(between, oaep) + keywrap.aes_key_wrap_with_padding(between, material)


def bring(c, key, material, algorithm="RSAES_OAEP_SHA_256", spec="RSA_2048", **more):
    parameters = c.get_parameters_for_import(KeyId=key, WrappingAlgorithm=algorithm, WrappingKeySpec=spec)
    if "ExpirationModel" not in more and "ValidTo" not in more:
        more["ExpirationModel"] = "KEY_MATERIAL_DOES_NOT_EXPIRE"
    return c.import_key_material(KeyId=key, ImportToken=parameters["ImportToken"],
                                 EncryptedKeyMaterial=wrap(parameters, algorithm, material), **more)


def imported_material():
    c = client()
    made = make(c, Origin="EXTERNAL")
    key = made["KeyId"]
    assert made["KeyState"] == "PendingImport" and made["Origin"] == "EXTERNAL" and made["Enabled"] is False
    refused("KMSInvalidStateException", c.encrypt, KeyId=key, Plaintext=b"x")
    refused("KMSInvalidStateException", c.enable_key, KeyId=key)
    material = os.urandom(32)
    name = bring(c, key, material)["KeyMaterialId"]
    shown = c.describe_key(KeyId=key)["KeyMetadata"]
    assert shown["KeyState"] == "Enabled" and shown["ExpirationModel"] == "KEY_MATERIAL_DOES_NOT_EXPIRE"
    assert shown["CurrentKeyMaterialId"] == name
    sealed = c.encrypt(KeyId=key, Plaintext=b"text")["CiphertextBlob"]

    for algorithm in ("RSAES_OAEP_SHA_1", "RSA_AES_KEY_WRAP_SHA_1", "RSA_AES_KEY_WRAP_SHA_256"):
        deleted = c.delete_imported_key_material(KeyId=key)
        assert deleted["KeyMaterialId"] == name
        assert state(c, key) == "PendingImport"
        refused("KMSInvalidStateException", c.decrypt, CiphertextBlob=sealed)
        c.delete_imported_key_material(KeyId=key)
        assert bring(c, key, material, algorithm, "RSA_3072")["KeyMaterialId"] == name
        assert c.decrypt(CiphertextBlob=sealed)["Plaintext"] == b"text"
    refuse = lambda code, bytes, **more: refused(code, lambda **_: bring(c, key, bytes, **more))
    refuse("IncorrectKeyMaterialException", os.urandom(32))
    refuse("IncorrectKeyMaterialException", os.urandom(16))
    refuse("IncorrectKeyMaterialException", material, KeyMaterialId="0" * 64)
    refuse("IncorrectKeyMaterialException", material, ImportType="NEW_KEY_MATERIAL")
    refuse("ValidationException", material, ExpirationModel="KEY_MATERIAL_EXPIRES")
    past = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=1)
    refuse("ValidationException", material, ValidTo=past)

    # Tokens belong to a key and to a pair.
    other = make(c, Origin="EXTERNAL")["KeyId"]
    asked = {"WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048"}
    mine, theirs = (c.get_parameters_for_import(KeyId=k, **asked) for k in (key, other))
    call = {"KeyId": key, "ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"}
    blob = wrap(mine, "RSAES_OAEP_SHA_256", material)
    refused("InvalidImportTokenException", c.import_key_material, ImportToken=theirs["ImportToken"],
            EncryptedKeyMaterial=blob, **call)
    refused("InvalidImportTokenException", c.import_key_material, ImportToken=b"x", EncryptedKeyMaterial=blob, **call)
    for broken in (blob[:-1], b"x", blob[:-1] + bytes([blob[-1] ^ 1]), wrap(theirs, "RSAES_OAEP_SHA_256", material)):
        refused("InvalidCiphertextException", c.import_key_material, ImportToken=mine["ImportToken"],
                EncryptedKeyMaterial=broken, **call)
    for wrong in ("RSAES_PKCS1_V1_5", "SM2PKE"):
        refused("UnsupportedOperationException", c.get_parameters_for_import, KeyId=key, WrappingAlgorithm=wrong,
                WrappingKeySpec="RSA_2048")
    ordinary = make(c)["KeyId"]
    refused("UnsupportedOperationException", c.get_parameters_for_import, KeyId=ordinary, **asked)
    refused("UnsupportedOperationException", c.delete_imported_key_material, KeyId=ordinary)
    refused("UnsupportedOperationException", c.enable_key_rotation, KeyId=key)

    # A second material waits for a rotation; the first still opens what it sealed.
    fresh = os.urandom(32)
    second = bring(c, key, fresh, ImportType="NEW_KEY_MATERIAL", KeyMaterialDescription="second")["KeyMaterialId"]
    assert c.describe_key(KeyId=key)["KeyMetadata"]["CurrentKeyMaterialId"] == name
    refuse("KMSInvalidStateException", os.urandom(32), ImportType="NEW_KEY_MATERIAL")
    c.rotate_key_on_demand(KeyId=key)
    refused("KMSInvalidStateException", c.rotate_key_on_demand, KeyId=key)
    rows = c.list_key_rotations(KeyId=key, IncludeKeyMaterial="ALL_KEY_MATERIAL")["Rotations"]
    assert [(row["KeyMaterialId"], row["KeyMaterialState"], row["ImportState"]) for row in rows] == [
        (name, "NON_CURRENT", "IMPORTED"), (second, "CURRENT", "IMPORTED")], rows
    assert rows[1]["KeyMaterialDescription"] == "second"
    assert c.decrypt(CiphertextBlob=sealed)["Plaintext"] == b"text"
    c.delete_imported_key_material(KeyId=key, KeyMaterialId=name)
    assert state(c, key) == "PendingImport"
    assert bring(c, key, material)["KeyMaterialId"] == name
    assert c.decrypt(CiphertextBlob=sealed)["Plaintext"] == b"text"
    assert c.decrypt(CiphertextBlob=c.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"])["KeyMaterialId"] == second

    hmac = make(c, Origin="EXTERNAL", KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")["KeyId"]
    secret = os.urandom(32)
    bring(c, hmac, secret, "RSA_AES_KEY_WRAP_SHA_256")
    import hmac as reference
    mac = c.generate_mac(KeyId=hmac, Message=b"message", MacAlgorithm="HMAC_SHA_256")["Mac"]
    assert mac == reference.new(secret, b"message", "sha256").digest()
    c.schedule_key_deletion(KeyId=hmac, PendingWindowInDays=7)
    c.cancel_key_deletion(KeyId=hmac)
    assert state(c, hmac) == "Disabled"
    c.delete_imported_key_material(KeyId=hmac)
    c.schedule_key_deletion(KeyId=hmac, PendingWindowInDays=7)
    c.cancel_key_deletion(KeyId=hmac)
    assert state(c, hmac) == "PendingImport"


def imported_pairs():
    c = client()
    pairs = {"RSA_2048": rsa.generate_private_key(65537, 2048), "ECC_NIST_P384": ec.generate_private_key(ec.SECP384R1())}
    pkcs8 = lambda pair: pair.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    for spec, pair in pairs.items():
        key = make(c, Origin="EXTERNAL", KeySpec=spec, KeyUsage="SIGN_VERIFY")["KeyId"]
        refused("KMSInvalidStateException", c.get_public_key, KeyId=key)
        for other in pairs:
            if other != spec:
                refused("InvalidCiphertextException", lambda **_: bring(c, key, pkcs8(pairs[other]), "RSA_AES_KEY_WRAP_SHA_256"))
        for _ in range(2):
            bring(c, key, pkcs8(pair), "RSA_AES_KEY_WRAP_SHA_256", "RSA_3072")
            public = serialization.load_der_public_key(c.get_public_key(KeyId=key)["PublicKey"])
            assert public == pair.public_key()
            if spec == "RSA_2048":
                signature = c.sign(KeyId=key, Message=b"m", SigningAlgorithm="RSASSA_PKCS1_V1_5_SHA_256")["Signature"]
                public.verify(signature, b"m", padding.PKCS1v15(), hashes.SHA256())
            else:
                signature = c.sign(KeyId=key, Message=b"m", SigningAlgorithm="ECDSA_SHA_384")["Signature"]
                public.verify(signature, b"m", ec.ECDSA(hashes.SHA384()))
            c.delete_imported_key_material(KeyId=key)
            refused("KMSInvalidStateException", c.get_public_key, KeyId=key)
        fresh = ec.generate_private_key(ec.SECP384R1())
        if spec == "ECC_NIST_P384":
            refused("IncorrectKeyMaterialException", lambda **_: bring(c, key, pkcs8(fresh), "RSA_AES_KEY_WRAP_SHA_1"))
    short = make(c, Origin="EXTERNAL", KeySpec="ECC_NIST_P256", KeyUsage="KEY_AGREEMENT")["KeyId"]
    refused("IncorrectKeyMaterialException", lambda **_: bring(c, short, pkcs8(pairs["ECC_NIST_P384"]), "RSA_AES_KEY_WRAP_SHA_256"))


def material_that_expires():
    """A day has three seconds."""
    c = client()
    key = make(c, Origin="EXTERNAL")["KeyId"]
    material = os.urandom(32)
    soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=3)
    asked = {"WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048"}
    parameters = c.get_parameters_for_import(KeyId=key, **asked)
    bring(c, key, material, ValidTo=soon)
    shown = c.describe_key(KeyId=key)["KeyMetadata"]
    assert shown["ExpirationModel"] == "KEY_MATERIAL_EXPIRES" and abs((shown["ValidTo"] - soon).total_seconds()) <= 1
    sealed = c.encrypt(KeyId=key, Plaintext=b"text")["CiphertextBlob"]
    until(lambda: state(c, key) == "PendingImport", "the material expires")
    refused("KMSInvalidStateException", c.decrypt, CiphertextBlob=sealed)
    bring(c, key, material)
    assert c.decrypt(CiphertextBlob=sealed)["Plaintext"] == b"text"
    # A token is good for a day, and known to have expired for another.
    call = {"KeyId": key, "ImportToken": parameters["ImportToken"], "ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE",
            "EncryptedKeyMaterial": wrap(parameters, "RSAES_OAEP_SHA_256", material)}
    refused("ExpiredImportTokenException", c.import_key_material, **call)


def data_key_pairs():
    c = client()
    key = make(c)["Arn"]
    context = {"a": "b"}
    for spec in ("RSA_2048", "ECC_NIST_P256", "ECC_NIST_P384", "ECC_NIST_P521", "ECC_SECG_P256K1"):
        made = c.generate_data_key_pair(KeyId=key, KeyPairSpec=spec, EncryptionContext=context)
        assert made["KeyId"] == key and made["KeyPairSpec"] == spec
        opened = c.decrypt(CiphertextBlob=made["PrivateKeyCiphertextBlob"], EncryptionContext=context)["Plaintext"]
        assert opened == made["PrivateKeyPlaintext"]
        private = serialization.load_der_private_key(opened, None)
        public = serialization.load_der_public_key(made["PublicKey"])
        if isinstance(private, rsa.RSAPrivateKey):
            public.verify(private.sign(b"m", padding.PKCS1v15(), hashes.SHA256()), b"m", padding.PKCS1v15(), hashes.SHA256())
        else:
            public.verify(private.sign(b"m", ec.ECDSA(hashes.SHA256())), b"m", ec.ECDSA(hashes.SHA256()))
    hidden = c.generate_data_key_pair_without_plaintext(KeyId=key, KeyPairSpec="ECC_NIST_P256")
    assert "PrivateKeyPlaintext" not in hidden
    opened = c.decrypt(CiphertextBlob=hidden["PrivateKeyCiphertextBlob"])["Plaintext"]
    private = serialization.load_der_private_key(opened, None)
    assert private.public_key() == serialization.load_der_public_key(hidden["PublicKey"])
    refused("DryRunOperationException", c.generate_data_key_pair, KeyId=key, KeyPairSpec="RSA_4096", DryRun=True)
    refused("UnsupportedOperationException", c.generate_data_key_pair, KeyId=key, KeyPairSpec="SM2")
    rsa_key = make(c, KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT")["KeyId"]
    refused("InvalidKeyUsageException", c.generate_data_key_pair, KeyId=rsa_key, KeyPairSpec="ECC_NIST_P256")
    refused("UnsupportedOperationException", c.generate_data_key_pair, KeyId=key, KeyPairSpec="ECC_NIST_P256", Recipient={
        "KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256", "AttestationDocument": b"x"})


def shared_secrets():
    c = client()
    curves = {"ECC_NIST_P256": ec.SECP256R1(), "ECC_NIST_P384": ec.SECP384R1(), "ECC_NIST_P521": ec.SECP521R1()}
    point = lambda public: public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    for spec, curve in curves.items():
        made = make(c, KeySpec=spec, KeyUsage="KEY_AGREEMENT")
        assert made["KeyAgreementAlgorithms"] == ["ECDH"], made
        public = c.get_public_key(KeyId=made["KeyId"])
        assert public["KeyAgreementAlgorithms"] == ["ECDH"] and public["KeyUsage"] == "KEY_AGREEMENT"
        ours = ec.generate_private_key(curve)
        call = {"KeyId": made["Arn"], "KeyAgreementAlgorithm": "ECDH"}
        theirs = c.derive_shared_secret(PublicKey=point(ours.public_key()), **call)
        wanted = ours.exchange(ec.ECDH(), serialization.load_der_public_key(public["PublicKey"]))
        assert theirs["SharedSecret"] == wanted and theirs["KeyOrigin"] == "AWS_KMS"
        refused("DryRunOperationException", c.derive_shared_secret, PublicKey=point(ours.public_key()), DryRun=True, **call)
        other = ec.generate_private_key(ec.SECP256K1()).public_key()
        off = bytearray(point(ours.public_key()))
        off[-1] ^= 1
        for wrong in (point(other), b"x", bytes(off)):
            refused("ValidationException", c.derive_shared_secret, PublicKey=wrong, **call)
        refused("InvalidKeyUsageException", c.sign, KeyId=made["KeyId"], Message=b"x", SigningAlgorithm="ECDSA_SHA_256")
    signer = make(c, KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyId"]
    refused("InvalidKeyUsageException", c.derive_shared_secret, KeyId=signer, KeyAgreementAlgorithm="ECDH",
            PublicKey=point(ec.generate_private_key(ec.SECP256R1()).public_key()))


def policies_and_tags():
    c = client()
    key = make(c)["KeyId"]
    statement = {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::%s:root" % ACCOUNT}, "Action": "kms:*", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    c.put_key_policy(KeyId=key, PolicyName="default", Policy=policy)
    assert c.get_key_policy(KeyId=key)["Policy"] == policy
    closed = json.dumps({"Statement": dict(statement, Action="kms:Get*")})
    refused("MalformedPolicyDocumentException", c.put_key_policy, KeyId=key, Policy=closed)
    refused("MalformedPolicyDocumentException", c.create_key, Policy=closed)
    c.put_key_policy(KeyId=key, Policy=closed, BypassPolicyLockoutSafetyCheck=True)
    assert c.get_key_policy(KeyId=key)["Policy"] == closed
    for wrong in ("[]", "{}", json.dumps({"Statement": [dict(statement, Effect="Maybe")]}), policy + " " * 32768):
        refused("MalformedPolicyDocumentException", c.put_key_policy, KeyId=key, Policy=wrong)
    refused("NotFoundException", c.get_key_policy, KeyId=key, PolicyName="other")

    tags = [{"TagKey": "k%02d" % n, "TagValue": "v"} for n in range(50)]
    c.tag_resource(KeyId=key, Tags=tags)
    pages = [page["Tags"] for page in c.get_paginator("list_resource_tags").paginate(
        KeyId=key, PaginationConfig={"PageSize": 20})]
    assert [len(page) for page in pages] == [20, 20, 10] and sum(pages, []) == tags
    refused("LimitExceededException", c.tag_resource, KeyId=key, Tags=[{"TagKey": "one", "TagValue": "more"}])
    refused("ValidationException", c.list_resource_tags, KeyId=key, Limit=51)
    refused("InvalidMarkerException", c.list_resource_tags, KeyId=key, Marker="x")
    refused("TagException", c.tag_resource, KeyId=key, Tags=[{"TagKey": "aws:x", "TagValue": ""}])


def dry_runs():
    """Every operation that has DryRun: refused as done, and nothing done."""
    c = client()
    key = make(c)["KeyId"]
    model = c.meta.service_model
    sealed = c.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    signer = make(c, KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyId"]
    macer = make(c, KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")["KeyId"]
    agreer = make(c, KeySpec="ECC_NIST_P256", KeyUsage="KEY_AGREEMENT")["KeyId"]
    grant = c.create_grant(KeyId=key, GranteePrincipal=ALICE, Operations=["Decrypt"])["GrantId"]
    public = c.get_public_key(KeyId=agreer)["PublicKey"]
    arguments = {
        "CreateGrant": dict(KeyId=key, GranteePrincipal=ALICE, Operations=["Decrypt"]),
        "Decrypt": dict(CiphertextBlob=sealed),
        "DeriveSharedSecret": dict(KeyId=agreer, KeyAgreementAlgorithm="ECDH", PublicKey=public),
        "Encrypt": dict(KeyId=key, Plaintext=b"x"),
        "GenerateDataKey": dict(KeyId=key, KeySpec="AES_256"),
        "GenerateDataKeyPair": dict(KeyId=key, KeyPairSpec="ECC_NIST_P256"),
        "GenerateDataKeyPairWithoutPlaintext": dict(KeyId=key, KeyPairSpec="ECC_NIST_P256"),
        "GenerateDataKeyWithoutPlaintext": dict(KeyId=key, KeySpec="AES_256"),
        "GenerateMac": dict(KeyId=macer, Message=b"x", MacAlgorithm="HMAC_SHA_256"),
        "ReEncrypt": dict(CiphertextBlob=sealed, DestinationKeyId=key),
        "RetireGrant": dict(KeyId=key, GrantId=grant),
        "RevokeGrant": dict(KeyId=key, GrantId=grant),
        "Sign": dict(KeyId=signer, Message=b"x", SigningAlgorithm="ECDSA_SHA_256"),
        "Verify": dict(KeyId=signer, Message=b"x", SigningAlgorithm="ECDSA_SHA_256", Signature=b"x"),
        "VerifyMac": dict(KeyId=macer, Message=b"x", MacAlgorithm="HMAC_SHA_256", Mac=b"x"),
    }
    have = {name for name in model.operation_names if "DryRun" in model.operation_model(name).input_shape.members}
    assert have - set(arguments) <= {"Encapsulate", "Decapsulate"}, have - set(arguments)
    for name, call in arguments.items():
        method = getattr(c, botocore.xform_name(name))
        refused("DryRunOperationException", method, DryRun=True, **call)
        wrong = {member: UNKNOWN for member in ("KeyId", "DestinationKeyId") if member in call}
        if wrong:
            refused("NotFoundException", method, DryRun=True, **dict(call, **wrong))
    assert [row["GrantId"] for row in c.list_grants(KeyId=key)["Grants"]] == [grant]
    asked = {"DryRun": True, "DryRunModifiers": ["IGNORE_CIPHERTEXT"]}
    refused("DryRunOperationException", c.decrypt, KeyId=key, **asked)
    refused("DryRunOperationException", c.re_encrypt, SourceKeyId=key, DestinationKeyId=key, **asked)
    refused("ValidationException", c.decrypt, KeyId=key)


def table_of_states():
    """What `hsmd-aws operations` says: the documentation has the same table."""
    command = [os.environ["HSMD_AWS"], "operations", "--markdown", "kms"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return rows[0][2:], {row[0]: (row[1], row[2:]) for row in rows[2:]}


def key_states():
    """Every cell of the table, but for keys in custom key stores."""
    c = client()
    columns, table = table_of_states()
    assert columns == ["Enabled", "Disabled", "PendingImport", "PendingDeletion", "Unavailable"] and len(table) == 56
    keeper = make(c)["KeyId"]
    kinds = {"Sign": ("ECC_NIST_P256", "SIGN_VERIFY"), "Verify": ("ECC_NIST_P256", "SIGN_VERIFY"),
             "GetPublicKey": ("ECC_NIST_P256", "SIGN_VERIFY"), "GenerateMac": ("HMAC_256", "GENERATE_VERIFY_MAC"),
             "VerifyMac": ("HMAC_256", "GENERATE_VERIFY_MAC"), "DeriveSharedSecret": ("ECC_NIST_P256", "KEY_AGREEMENT")}
    imports = ("ImportKeyMaterial", "GetParametersForImport", "DeleteImportedKeyMaterial")
    public = ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)

    def prepared(operation, column):
        spec, usage = kinds.get(operation, ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"))
        if column == "PendingImport" or operation in imports:
            key = make(c, Origin="EXTERNAL")["KeyId"]
        else:
            key = make(c, KeySpec=spec, KeyUsage=usage)["KeyId"]
        if operation in imports and column != "PendingImport":
            bring(c, key, os.urandom(32))
        more = {}
        if operation == "ImportKeyMaterial":
            got = c.get_parameters_for_import(KeyId=key, WrappingAlgorithm="RSAES_OAEP_SHA_256", WrappingKeySpec="RSA_2048")
            material = os.urandom(32)
            more = {"ImportToken": got["ImportToken"], "ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE",
                    "EncryptedKeyMaterial": wrap(got, "RSAES_OAEP_SHA_256", material), "ImportType": "NEW_KEY_MATERIAL"}
        elif operation in ("RetireGrant", "RevokeGrant") and column != "PendingImport":
            more = {"GrantId": c.create_grant(KeyId=key, GranteePrincipal=ALICE, Operations=["Decrypt"])["GrantId"]}
        elif operation == "VerifyMac":
            mac = os.urandom(32)
            if column != "PendingImport":
                mac = c.generate_mac(KeyId=key, Message=b"x", MacAlgorithm="HMAC_SHA_256")["Mac"]
            more = {"Message": b"x", "MacAlgorithm": "HMAC_SHA_256", "Mac": mac}
        elif operation == "Verify":
            signature = b"x"
            if column != "PendingImport":
                signature = c.sign(KeyId=key, Message=b"x", SigningAlgorithm="ECDSA_SHA_256")["Signature"]
            more = {"Message": b"x", "SigningAlgorithm": "ECDSA_SHA_256", "Signature": signature}
        elif operation == "Decrypt" and column != "PendingImport":
            more = {"CiphertextBlob": c.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]}
        elif operation == "DeleteAlias":
            more = {"AliasName": "alias/" + key}
            c.create_alias(AliasName=more["AliasName"], TargetKeyId=key)
        elif operation == "UpdateAlias":
            more = {"AliasName": "alias/" + key}
            c.create_alias(AliasName=more["AliasName"], TargetKeyId=keeper)
        if column == "Disabled":
            c.disable_key(KeyId=key)
        elif column == "PendingDeletion":
            c.schedule_key_deletion(KeyId=key)
        assert state(c, key) == column
        return key, more

    fixed = {
        "CreateAlias": lambda key: {"AliasName": "alias/n" + key, "TargetKeyId": key},
        "CreateGrant": lambda key: {"KeyId": key, "GranteePrincipal": ALICE, "Operations": ["Decrypt"]},
        "Decapsulate": lambda key: {"KeyId": key, "SharedSecretCiphertextBlob": b"x", "EncapsulationAlgorithm": "ML_KEM"},
        "Encapsulate": lambda key: {"KeyId": key, "EncapsulationAlgorithm": "ML_KEM"},
        "Decrypt": lambda key: {"DryRun": True, "DryRunModifiers": ["IGNORE_CIPHERTEXT"], "KeyId": key},
        "DeleteAlias": lambda key: {},
        "DeriveSharedSecret": lambda key: {"KeyId": key, "KeyAgreementAlgorithm": "ECDH", "PublicKey": public},
        "Encrypt": lambda key: {"KeyId": key, "Plaintext": b"x"},
        "GenerateDataKey": lambda key: {"KeyId": key, "KeySpec": "AES_256"},
        "GenerateDataKeyWithoutPlaintext": lambda key: {"KeyId": key, "KeySpec": "AES_256"},
        "GenerateDataKeyPair": lambda key: {"KeyId": key, "KeyPairSpec": "ECC_NIST_P256"},
        "GenerateDataKeyPairWithoutPlaintext": lambda key: {"KeyId": key, "KeyPairSpec": "ECC_NIST_P256"},
        "GenerateMac": lambda key: {"KeyId": key, "Message": b"x", "MacAlgorithm": "HMAC_SHA_256"},
        "GetParametersForImport": lambda key: {"KeyId": key, "WrappingAlgorithm": "RSAES_OAEP_SHA_256",
                                               "WrappingKeySpec": "RSA_2048"},
        "PutKeyPolicy": lambda key: {"KeyId": key, "Policy": c.get_key_policy(KeyId=key)["Policy"]},
        "ReEncrypt": lambda key: {"CiphertextBlob": c.encrypt(KeyId=keeper, Plaintext=b"x")["CiphertextBlob"],
                                  "DestinationKeyId": key},
        "ReplicateKey": lambda key: {"KeyId": key, "ReplicaRegion": "eu-west-1"},
        "UpdatePrimaryRegion": lambda key: {"KeyId": key, "PrimaryRegion": "eu-west-1"},
        "RetireGrant": lambda key: {"KeyId": key, "GrantId": "0" * 64},
        "RevokeGrant": lambda key: {"KeyId": key, "GrantId": "0" * 64},
        "Sign": lambda key: {"KeyId": key, "Message": b"x", "SigningAlgorithm": "ECDSA_SHA_256"},
        "TagResource": lambda key: {"KeyId": key, "Tags": [{"TagKey": "a", "TagValue": "b"}]},
        "UntagResource": lambda key: {"KeyId": key, "TagKeys": ["a"]},
        "UpdateAlias": lambda key: {"TargetKeyId": key},
        "UpdateKeyDescription": lambda key: {"KeyId": key, "Description": "x"},
    }
    # What works but for another reason than the state: no such key, no such grant, or an answer to a question only.
    beside = {"Decapsulate": ["InvalidKeyUsageException"], "Encapsulate": ["InvalidKeyUsageException"],
              ("RetireGrant", "PendingImport"): ["NotFoundException"], ("RevokeGrant", "PendingImport"): ["NotFoundException"]}
    codes = {"works": [None], "Disabled": ["DisabledException"], "InvalidState": ["KMSInvalidStateException"],
             "Unsupported": ["UnsupportedOperationException"]}
    tried = 0
    for operation, (_, cells) in table.items():
        if not cells[0]:
            continue
        for column, cell in list(zip(columns, cells))[:4]:
            key, more = prepared(operation, column)
            arguments = dict(fixed.get(operation, lambda key: {"KeyId": key})(key), **more)
            if "CiphertextBlob" in more:
                arguments = {"KeyId": key, **more}
            try:
                getattr(c, botocore.xform_name(operation))(**arguments)
                code = None
            except botocore.exceptions.ClientError as error:
                code = error.response["Error"]["Code"]
            wanted = codes[cell]
            if cell == "works":
                wanted = beside.get((operation, column)) or beside.get(operation) or wanted
            assert code in wanted, (operation, column, cell, code)
            tried += 1
    assert tried == 4 * sum(1 for _, cells in table.values() if cells[0]), tried


def uses():
    """GetKeyLastUsage, and what one region cannot do."""
    c = client()
    key = make(c)["Arn"]
    assert "KeyLastUsage" not in c.get_key_last_usage(KeyId=key)
    c.decrypt(CiphertextBlob=c.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"])
    last = c.get_key_last_usage(KeyId=key)
    assert last["KeyLastUsage"]["Operation"] == "Decrypt" and last["KeyId"] == key, last
    assert last["TrackingStartDate"] <= last["KeyLastUsage"]["Timestamp"]
    refused("UnsupportedOperationException", c.replicate_key, KeyId=key, ReplicaRegion="eu-west-1")
    refused("UnsupportedOperationException", c.update_primary_region, KeyId=key, PrimaryRegion="eu-west-1")
    refused("NotFoundException", c.replicate_key, KeyId=UNKNOWN, ReplicaRegion="eu-west-1")


if __name__ == "__main__":
    globals()[sys.argv[1]]()
