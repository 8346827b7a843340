"""What the env file of `hsmd dev` gives to boto3."""

import os
import subprocess
import sys
import time
import urllib.parse
from pathlib import Path

import boto3


def cluster_parts():
    cloudhsm = boto3.client("cloudhsm")
    group = cloudhsm.describe_hapg(HapgArn=os.environ["HSMD_HAPG_ARN"])
    assert group["State"] == "READY", group
    assert len(group["PartitionSerialList"]) == 2, group
    hsms = [cloudhsm.describe_hsm(HsmArn=arn) for arn in cloudhsm.list_hsms()["HsmList"]]
    hsms = [hsm for hsm in hsms if hsm["Status"] != "TERMINATED"]
    assert {hsm["Status"] for hsm in hsms} == {"RUNNING"}, hsms
    assert len({hsm["AvailabilityZone"] for hsm in hsms}) == 2, hsms
    assert os.environ["HSMD_SUBNET_ID"] in {hsm["SubnetId"] for hsm in hsms}, hsms
    return cloudhsm, hsms


def first_start():
    cloudhsm, hsms = cluster_parts()
    assert len(hsms) == 2
    # Subnets of one's own are taken as well.
    arn = cloudhsm.create_hsm(
        SubnetId="subnet-0a1b2c3d", SshKey="ssh-rsa AAAA", IamRoleArn="arn:aws:iam::123456789012:role/x", SubscriptionType="PRODUCTION"
    )["HsmArn"]
    assert cloudhsm.describe_hsm(HsmArn=arn)["SubnetId"] == "subnet-0a1b2c3d"
    cloudhsm.delete_hsm(HsmArn=arn)
    kms = boto3.client("kms")
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.create_alias(AliasName="alias/kept", TargetKeyId=key)
    sealed = kms.encrypt(KeyId="alias/kept", Plaintext=b"kept")["CiphertextBlob"]
    Path(os.environ["HSMD_DATA_DIR"], "sealed").write_bytes(sealed)
    for name in ["HSMD_SERVER_CERT", "HSMD_TRUST_ANCHOR"]:
        assert Path(os.environ[name]).read_text().startswith("-----BEGIN CERTIFICATE-----")


def connected(kms, store):
    kms.connect_custom_key_store(CustomKeyStoreId=store)
    end = time.monotonic() + 30
    while True:
        found = kms.describe_custom_key_stores(CustomKeyStoreId=store)["CustomKeyStores"][0]
        if found["ConnectionState"] == "CONNECTED":
            return
        assert found["ConnectionState"] == "CONNECTING" and time.monotonic() < end, found
        time.sleep(0.02)


def custom_key_stores():
    clusters = boto3.client("cloudhsmv2").describe_clusters()["Clusters"]
    assert os.environ["HSMD_CLUSTER_ID"] in {cluster["ClusterId"] for cluster in clusters}, clusters
    kms = boto3.client("kms")
    store = kms.create_custom_key_store(
        CustomKeyStoreName="cluster", CloudHsmClusterId=os.environ["HSMD_CLUSTER_ID"],
        KeyStorePassword=os.environ["HSMD_KMSUSER_PASSWORD"],
        TrustAnchorCertificate=Path(os.environ["HSMD_TRUST_ANCHOR"]).read_text(),
    )["CustomKeyStoreId"]
    connected(kms, store)
    key = kms.create_key(Origin="AWS_CLOUDHSM", CustomKeyStoreId=store)["KeyMetadata"]["Arn"]
    sealed = kms.encrypt(KeyId=key, Plaintext=b"cluster")["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=sealed)["Plaintext"] == b"cluster"
    subprocess.run(
        ["pkcs11-tool", "--module", os.environ["HSMD_PKCS11_MODULE"], "--token-label", os.environ["HSMD_TOKEN_LABEL"], "--login",
         "--pin", os.environ["HSMD_PIN"], "--keygen", "--key-type", "AES:32", "--label", "outside"], check=True, capture_output=True)
    proxy = urllib.parse.urlsplit(os.environ["HSMD_XKS_URI"])
    store = kms.create_custom_key_store(
        CustomKeyStoreName="proxy", CustomKeyStoreType="EXTERNAL_KEY_STORE", XksProxyConnectivity="PUBLIC_ENDPOINT",
        XksProxyUriEndpoint=f"https://{proxy.hostname}", XksProxyUriPath=proxy.path,
        XksProxyAuthenticationCredential={
            "AccessKeyId": os.environ["HSMD_XKS_ACCESS_KEY_ID"], "RawSecretAccessKey": os.environ["HSMD_XKS_SECRET_ACCESS_KEY"]},
    )["CustomKeyStoreId"]
    connected(kms, store)
    key = kms.create_key(Origin="EXTERNAL_KEY_STORE", CustomKeyStoreId=store, XksKeyId="outside")["KeyMetadata"]["Arn"]
    sealed = kms.encrypt(KeyId=key, Plaintext=b"proxy")["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=sealed)["Plaintext"] == b"proxy"


def second_start():
    cluster_parts()
    sealed = Path(os.environ["HSMD_DATA_DIR"], "sealed").read_bytes()
    assert boto3.client("kms").decrypt(CiphertextBlob=sealed)["Plaintext"] == b"kept"


globals()[sys.argv[1]]()
