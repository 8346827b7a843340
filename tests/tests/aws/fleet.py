"""KMS while nodes of the fleet behind it go away. For each word on standard input a number of rounds of calls, at the first try each:
the environment turns botocore's own repetitions off."""

import sys
import time

import boto3

ROUNDS = 40


def calls(kms, keys, number):
    """A round: (name, call) for each."""
    alias = "alias/round-%d" % number
    text = b"text %d" % number
    sealed = {}

    def encrypt():
        sealed["blob"] = kms.encrypt(KeyId=keys["aes"], Plaintext=text)["CiphertextBlob"]

    def decrypt():
        assert kms.decrypt(CiphertextBlob=sealed["blob"])["Plaintext"] == text
        assert kms.decrypt(CiphertextBlob=keys["first"])["Plaintext"] == b"first"

    def sign():
        signature = kms.sign(KeyId=keys["ecc"], Message=text, SigningAlgorithm="ECDSA_SHA_256")["Signature"]
        verified = kms.verify(KeyId=keys["ecc"], Message=text, Signature=signature, SigningAlgorithm="ECDSA_SHA_256")
        assert verified["SignatureValid"]

    def data_key():
        made = kms.generate_data_key(KeyId=keys["aes"], KeySpec="AES_256")
        assert kms.decrypt(CiphertextBlob=made["CiphertextBlob"])["Plaintext"] == made["Plaintext"]

    def own_alias():
        kms.create_alias(AliasName=alias, TargetKeyId=keys["aes"])
        assert kms.describe_key(KeyId=alias)["KeyMetadata"]["KeyId"] == keys["aes"]
        kms.delete_alias(AliasName=alias)

    def tags():
        kms.tag_resource(KeyId=keys["aes"], Tags=[{"TagKey": "round", "TagValue": str(number)}])
        assert {"TagKey": "round", "TagValue": str(number)} in kms.list_resource_tags(KeyId=keys["aes"])["Tags"]

    return [encrypt, decrypt, sign, data_key, own_alias, tags]


def main():
    kms = boto3.client("kms")
    keys = {
        "aes": kms.create_key()["KeyMetadata"]["KeyId"],
        "ecc": kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"],
    }
    keys["first"] = kms.encrypt(KeyId=keys["aes"], Plaintext=b"first")["CiphertextBlob"]
    print("ready", flush=True)
    number = 0
    for _ in sys.stdin:
        print("going", flush=True)
        longest = (0, "")
        for _ in range(ROUNDS):
            number += 1
            for call in calls(kms, keys, number):
                begun = time.monotonic()
                call()
                longest = max(longest, (time.monotonic() - begun, call.__name__))
        print("good: %d rounds, longest %d ms (%s)" % (ROUNDS, longest[0] * 1000, longest[1]), flush=True)


main()
