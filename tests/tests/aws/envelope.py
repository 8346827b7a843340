"""The AWS Encryption SDK for Python: an envelope-encryption client of AWS's own, pointed at the endpoint."""

import aws_encryption_sdk
import boto3
from aws_encryption_sdk import CommitmentPolicy

if __name__ == "__main__":
    kms = boto3.client("kms")
    key = kms.create_key()["KeyMetadata"]["Arn"]
    session = __import__("botocore.session").session.get_session()
    provider = aws_encryption_sdk.StrictAwsKmsMasterKeyProvider(key_ids=[key], botocore_session=session)
    client = aws_encryption_sdk.EncryptionSDKClient(commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)
    text = b"envelope" * 10_000
    sealed, _ = client.encrypt(source=text, key_provider=provider, encryption_context={"a": "b"})
    opened, header = client.decrypt(source=sealed, key_provider=provider)
    assert opened == text and header.encryption_context["a"] == "b"
    print("round trip of", len(text), "bytes")
