"""Changes everything that the AWS side keeps, from several threads, until the endpoint dies; then says whether what was
acknowledged is there. One line in (`go`, `check`, `end`), one line out."""

import os
import random
import sys
import threading
import time
from pathlib import Path

import boto3
import botocore.config
import botocore.exceptions

CONFIG = botocore.config.Config(retries={"max_attempts": 0}, connect_timeout=5, read_timeout=20)
# The endpoint ended, or answered while the daemon did: whether it was done is not known.
DEAD = (botocore.exceptions.HTTPClientError, botocore.exceptions.ConnectionError)
GONE = object()
SEED = int(os.environ["KILLS_SEED"])


def client(name):
    return boto3.client(name, config=CONFIG)


class InDoubt(Exception):
    """Not acknowledged."""


def attempt(call, **arguments):
    try:
        return call(**arguments)
    except DEAD as error:
        raise InDoubt from error
    except botocore.exceptions.ClientError as error:
        # The daemon behind the endpoint is gone, the endpoint not yet.
        if error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500 or error.response["Error"]["Code"] == "KMSInvalidStateException":
            raise InDoubt from error
        raise


class Thing:
    """Something with attributes, and the values that each may have after what was acknowledged and what is in doubt."""

    def __init__(self, **values):
        self.may = {name: {value} for name, value in values.items()}

    def change(self, name, value, call, **arguments):
        before = set(self.may[name])
        self.may[name] = before | {value}
        try:
            attempt(call, **arguments)
        except InDoubt:
            raise
        except Exception:
            self.may[name] = before
            raise
        self.may[name] = {value}

    def saw(self, name, value):
        assert value in self.may[name], f"LOST {name}: {value!r}, not one of {self.may[name]!r}"
        self.may[name] = {value}


class World:
    def __init__(self):
        self.keys, self.aliases, self.certificates, self.configurations, self.groups = {}, {}, {}, {}, {}
        self.acts = self.doubts = 0
        self.store = self.connect()

    def connect(self):
        kms = client("kms")
        store = kms.create_custom_key_store(
            CustomKeyStoreName="storm", CloudHsmClusterId=os.environ["HSMD_CLUSTER_ID"],
            KeyStorePassword=os.environ["HSMD_KMSUSER_PASSWORD"],
            TrustAnchorCertificate=Path(os.environ["HSMD_TRUST_ANCHOR"]).read_text())["CustomKeyStoreId"]
        kms.connect_custom_key_store(CustomKeyStoreId=store)
        self.wait_connected(kms, store)
        return store

    @staticmethod
    def wait_connected(kms, store):
        end = time.monotonic() + 60
        while True:
            found = kms.describe_custom_key_stores(CustomKeyStoreId=store)["CustomKeyStores"][0]
            if found["ConnectionState"] == "CONNECTED":
                return
            assert found["ConnectionState"] != "FAILED" and time.monotonic() < end, f"LOST the key store's connection: {found}"
            time.sleep(0.02)

    # --- acts; each thread changes things of its own only ---

    def make_key(self, own, kms, rng):
        where = rng.choice([{}, {"Origin": "AWS_CLOUDHSM", "CustomKeyStoreId": self.store}])
        made = attempt(kms.create_key, Description="made", **where)["KeyMetadata"]["KeyId"]
        thing = self.keys[made] = own.setdefault("keys", {})[made] = Thing(state="Enabled", description="made", tag=None)
        thing.text = b"text of " + made.encode()
        thing.sealed = None

    def seal(self, own, kms, rng):
        key, thing = rng.choice(list(own["keys"].items()))
        if thing.may["state"] == {"Enabled"}:
            thing.sealed = attempt(kms.encrypt, KeyId=key, Plaintext=thing.text)["CiphertextBlob"]

    def describe(self, own, kms, rng):
        key, thing = rng.choice(list(own["keys"].items()))
        if thing.may["state"] & {"PendingDeletion"}:
            return
        text = f"description {rng.random()}"
        thing.change("description", text, kms.update_key_description, KeyId=key, Description=text)

    def tag(self, own, kms, rng):
        key, thing = rng.choice(list(own["keys"].items()))
        if thing.may["state"] & {"PendingDeletion"}:
            return
        text = str(rng.random())
        thing.change("tag", text, kms.tag_resource, KeyId=key, Tags=[{"TagKey": "storm", "TagValue": text}])

    def state(self, own, kms, rng):
        key, thing = rng.choice(list(own["keys"].items()))
        if len(thing.may["state"]) > 1:
            return
        [now] = thing.may["state"]
        if now == "PendingDeletion":
            thing.change("state", "Disabled", kms.cancel_key_deletion, KeyId=key)
        elif now == "Disabled":
            thing.change("state", "Enabled", kms.enable_key, KeyId=key)
        elif rng.random() < 0.5:
            thing.change("state", "Disabled", kms.disable_key, KeyId=key)
        else:
            thing.change("state", "PendingDeletion", kms.schedule_key_deletion, KeyId=key, PendingWindowInDays=7)

    def alias(self, own, kms, rng):
        key = rng.choice(list(own["keys"]))
        if self.keys[key].may["state"] & {"PendingDeletion"}:
            return
        name = f"alias/{own['name']}-{rng.randrange(4)}"
        thing = self.aliases.setdefault(name, Thing(target=GONE))
        if len(thing.may["target"]) > 1:
            return
        if thing.may["target"] == {GONE}:
            thing.change("target", key, kms.create_alias, AliasName=name, TargetKeyId=key)
        else:
            thing.change("target", GONE, kms.delete_alias, AliasName=name)

    def redshift(self, own, kms, rng):
        redshift = own["redshift"]
        name = f"{own['name']}-{rng.randrange(3)}"
        if rng.random() < 0.5:
            thing = self.certificates.setdefault(name, Thing(there=False))
            make, drop = redshift.create_hsm_client_certificate, redshift.delete_hsm_client_certificate
            what = {"HsmClientCertificateIdentifier": name}
            more = {}
        else:
            thing = self.configurations.setdefault(name, Thing(there=False))
            make, drop = redshift.create_hsm_configuration, redshift.delete_hsm_configuration
            what = {"HsmConfigurationIdentifier": name}
            more = {"Description": "storm", "HsmIpAddress": "127.0.0.1", "HsmPartitionName": "orders",
                    "HsmPartitionPassword": "Passw0rd", "HsmServerPublicCertificate": Path(os.environ["HSMD_SERVER_CERT"]).read_text()}
        if thing.may["there"] == {False}:
            thing.change("there", True, make, **what, **more)
        elif thing.may["there"] == {True}:
            thing.change("there", False, drop, **what)

    def group(self, own, kms, rng):
        cloudhsm = own["cloudhsm"]
        here = [arn for arn, thing in self.groups.items() if thing.owner == own["name"] and thing.may["there"] == {True}]
        if here and rng.random() < 0.5:
            self.groups[here[0]].change("there", False, cloudhsm.delete_hapg, HapgArn=here[0])
        else:
            arn = attempt(cloudhsm.create_hapg, Label=f"storm-{own['name']}")["HapgArn"]
            thing = self.groups[arn] = Thing(there=True)
            thing.owner = own["name"]

    def go(self, owns):
        stop = threading.Event()
        faults = []

        def work(own, rng):
            kms = client("kms")
            acts = [self.make_key, self.seal, self.describe, self.tag, self.state, self.alias, self.redshift, self.group]
            try:
                while not stop.is_set():
                    rng.choice(acts if own.get("keys") else [self.make_key])(own, kms, rng)
                    self.acts += 1
            except InDoubt:
                self.doubts += 1
            except Exception as error:  # said in the next line out
                faults.append(f"{own['name']}: {error!r}")

        threads = [threading.Thread(target=work, args=(own, own["rng"])) for own in owns]
        for thread in threads:
            thread.start()
        print("going", flush=True)
        for thread in threads:
            thread.join()
        return faults

    # --- what must be so afterwards ---

    def check(self):
        kms, redshift, cloudhsm = client("kms"), client("redshift"), client("cloudhsm")
        self.wait_connected(kms, self.store)
        listed = set()
        for page in kms.get_paginator("list_keys").paginate():
            listed |= {key["KeyId"] for key in page["Keys"]}
        assert not set(self.keys) - listed, f"LOST keys: {set(self.keys) - listed}"
        for key in listed - set(self.keys):
            # Made when the kill came, its answer not seen: whole, or not there.
            found = kms.describe_key(KeyId=key)["KeyMetadata"]
            assert found["KeyState"] == "Enabled", f"HALF a key: {found}"
            kms.encrypt(KeyId=key, Plaintext=b"x")
            self.keys[key] = Thing(state="Enabled", description=found["Description"], tag=None)
            self.keys[key].sealed = None
        for key, thing in self.keys.items():
            found = kms.describe_key(KeyId=key)["KeyMetadata"]
            thing.saw("state", found["KeyState"])
            thing.saw("description", found["Description"])
            tags = {tag["TagKey"]: tag["TagValue"] for tag in kms.list_resource_tags(KeyId=key)["Tags"]}
            thing.saw("tag", tags.get("storm"))
            if thing.sealed and found["KeyState"] == "Enabled":
                assert kms.decrypt(CiphertextBlob=thing.sealed)["Plaintext"] == thing.text, f"LOST the text of {key}"
        aliases = {}
        for page in kms.get_paginator("list_aliases").paginate():
            aliases |= {alias["AliasName"]: alias.get("TargetKeyId") for alias in page["Aliases"]}
        for name, thing in self.aliases.items():
            thing.saw("target", aliases.get(name, GONE))
        certificates = {found["HsmClientCertificateIdentifier"] for page in redshift.get_paginator(
            "describe_hsm_client_certificates").paginate() for found in page["HsmClientCertificates"]}
        for name, thing in self.certificates.items():
            thing.saw("there", name in certificates)
        configurations = {found["HsmConfigurationIdentifier"] for page in redshift.get_paginator(
            "describe_hsm_configurations").paginate() for found in page["HsmConfigurations"]}
        for name, thing in self.configurations.items():
            thing.saw("there", name in configurations)
        groups = {arn for page in cloudhsm.get_paginator("list_hapgs").paginate() for arn in page["HapgList"]}
        for arn, thing in self.groups.items():
            thing.saw("there", arn in groups)


def main():
    world = World()
    owns = [{"name": f"w{number}", "rng": random.Random(SEED + number), "redshift": client("redshift"), "cloudhsm": client("cloudhsm")}
            for number in range(4)]
    print("ready", flush=True)
    for line in sys.stdin:
        word = line.strip()
        try:
            if word == "go":
                faults = world.go(owns)
                print("; ".join(faults) if faults else "ended", flush=True)
            elif word == "check":
                world.check()
                print(f"whole {world.acts} acknowledged, {world.doubts} in doubt, {len(world.keys)} keys", flush=True)
        except Exception as error:
            print(f"BAD {error!r}".replace("\n", " "), flush=True)


main()
