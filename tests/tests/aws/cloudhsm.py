"""CloudHSM Classic through boto3. Each function is a scenario; the process's environment names endpoint and keys."""

import datetime
import hashlib
import hmac
import http.client
import json
import os
import signal
import subprocess
import sys
import urllib.parse

import boto3
import botocore.auth
import botocore.awsrequest
import botocore.credentials
import botocore.exceptions

ROLE = "arn:aws:iam::123456789012:role/hsm"


def client(**options):
    return boto3.client("cloudhsm", **options)


def certificate(name, folder):
    path = os.path.join(folder, name)
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=" + name,
         "-keyout", path + ".key", "-out", path + ".pem"],
        check=True, capture_output=True)
    with open(path + ".pem") as file:
        return file.read()


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except botocore.exceptions.ClientError as error:
        assert error.response["Error"]["Code"] == code, error.response
        assert error.response["ResponseMetadata"]["RequestId"], error.response
        return error.response
    raise AssertionError("not refused: %r" % arguments)


def every_operation_of_cloudhsm():
    c = client()
    home = os.environ["HOME"]
    zones = c.list_available_zones()["AZList"]
    assert zones, zones
    arguments = dict(SubnetId="subnet-0a1b2c3d", SshKey="ssh-rsa AAAA x", IamRoleArn=ROLE,
                     SubscriptionType="PRODUCTION", ClientToken="token1")
    hsm = c.create_hsm(**arguments)["HsmArn"]
    assert c.create_hsm(**arguments)["HsmArn"] == hsm
    described = c.describe_hsm(HsmArn=hsm)
    assert described["Status"] in ("PENDING", "RUNNING"), described
    assert described["SubscriptionStartDate"].isdigit()
    assert c.describe_hsm(HsmSerialNumber=described["SerialNumber"])["HsmArn"] == hsm
    assert hsm in c.list_hsms()["HsmList"]
    assert c.modify_hsm(HsmArn=hsm, SyslogIp="10.1.2.3")["HsmArn"] == hsm

    group = c.create_hapg(Label="web")["HapgArn"]
    assert [page["HapgList"] for page in c.get_paginator("list_hapgs").paginate()] == [[group]]
    state = c.describe_hapg(HapgArn=group)
    assert (state["State"], state["PartitionSerialList"]) == ("READY", []), state
    assert c.modify_hapg(HapgArn=group, Label="web2", PartitionSerialList=[])["HapgArn"] == group
    assert c.describe_hapg(HapgArn=group)["Label"] == "web2"

    first, second = certificate("one", home), certificate("two", home)
    host = c.create_luna_client(Label="host", Certificate=first)["ClientArn"]
    found = c.describe_luna_client(ClientArn=host)
    assert found["Certificate"] == first and found["Label"] == "host"
    assert c.describe_luna_client(CertificateFingerprint=found["CertificateFingerprint"])["ClientArn"] == host
    assert c.list_luna_clients()["ClientList"] == [host]
    assert c.modify_luna_client(ClientArn=host, Certificate=second)["ClientArn"] == host

    tags = [{"Key": "team", "Value": "web"}, {"Key": "empty", "Value": ""}]
    assert c.add_tags_to_resource(ResourceArn=hsm, TagList=tags)["Status"]
    listed = c.list_tags_for_resource(ResourceArn=hsm)["TagList"]
    assert sorted(tag["Key"] for tag in listed) == ["empty", "team"], listed
    assert c.remove_tags_from_resource(ResourceArn=hsm, TagKeyList=["empty"])["Status"]
    assert c.list_tags_for_resource(ResourceArn=hsm)["TagList"] == tags[:1]

    partition = next(c.describe_hsm(HsmArn=arn)["Partitions"] for arn in c.list_hsms()["HsmList"]
                     if c.describe_hsm(HsmArn=arn)["Partitions"])[0]
    serial = partition.rsplit("-", 1)[1]
    c.modify_hapg(HapgArn=group, PartitionSerialList=[serial])
    config = c.get_config(ClientArn=host, ClientVersion="5.3", HapgList=[group])
    assert "Chrystoki2" in config["ConfigFile"] and serial in config["ConfigFile"], config
    c.modify_hapg(HapgArn=group, PartitionSerialList=[])

    assert c.delete_luna_client(ClientArn=host)["Status"]
    assert c.delete_hapg(HapgArn=group)["Status"]
    assert c.delete_hsm(HsmArn=hsm)["Status"]
    called = {operation for operation in c.meta.service_model.operation_names}
    assert len(called) == 20, called


def refusals_are_the_modelled_errors():
    c = client()
    refused("InvalidRequestException", c.describe_hapg, HapgArn="arn:aws:cloudhsm:local-1:000000000000:hapg-00000000")
    refused("InvalidRequestException", c.create_hapg, Label="not allowed!")
    refused("InvalidRequestException", c.describe_hsm)
    taken = dict(SubnetId="subnet-0a1b2c3d", SshKey="k", IamRoleArn=ROLE, SubscriptionType="PRODUCTION", ClientToken="t")
    c.create_hsm(**taken)
    other = dict(taken, SshKey="another")
    answer = refused("CloudHsmServiceException", c.create_hsm, **other)
    assert answer["retryable"] is False, answer
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 400


def signatures_of_requests():
    client().list_hsms()
    known, secret = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
    wrong = dict(aws_access_key_id=known, aws_secret_access_key="x" * 40)
    unknown = dict(aws_access_key_id="AKIAUNKNOWN000000000", aws_secret_access_key=secret)
    refused("InvalidSignatureException", client(**wrong).list_hsms)
    refused("UnrecognizedClientException", client(**unknown).list_hsms)
    refused("InvalidSignatureException", client(region_name="us-east-1").list_hsms)
    # Nobody signed, a time long ago, a body that was changed after it was signed.
    headers = {"X-Amz-Target": "CloudHsmFrontendService.ListHsms", "Content-Type": "application/x-amz-json-1.1"}
    status, answer = send(headers, b"{}")
    assert (status, answer["__type"]) == (400, "MissingAuthenticationTokenException"), answer
    status, answer = send(signed(headers, b"{}"), b'{"NextToken":""}')
    assert (status, answer["__type"]) == (400, "InvalidSignatureException"), answer
    past = datetime.datetime(2015, 1, 1, tzinfo=datetime.timezone.utc)
    status, answer = send(sign_at(past, headers, b"{}"), b"{}")
    assert status == 400 and answer["__type"] == "InvalidSignatureException", answer
    assert "expired" in answer["message"].lower(), answer


def the_2016_command_line():
    """What aws-cloudhsm-cli 3.0.8 sends: another target, `amz-1.0`, members that no model has."""
    target = "com.amazonaws.cloudhsm.CloudHsmFrontendService."
    headers = {"X-Amz-Target": target + "CreateHsm", "Content-Type": "application/json", "Content-Encoding": "amz-1.0"}
    body = json.dumps({"SubnetId": "subnet-0a1b2c3d", "SshKey": "k", "IamRoleArn": ROLE,
                       "SubscriptionType": "PRODUCTION", "HsmSoftwareVersion": "5.3.5", "FipsCertified": False,
                       "ClientToken": "0123456789abcdef0123456789abcdef"}).encode()
    status, answer = send(signed(headers, body), body)
    assert status == 200 and answer["HsmArn"].startswith("arn:aws:cloudhsm:"), answer


def bad_bodies():
    def ask(operation, body, **more):
        headers = {"X-Amz-Target": "CloudHsmFrontendService." + operation,
                   "Content-Type": "application/x-amz-json-1.1", **more}
        return send(signed(headers, body), body)

    assert ask("ListHsms", b"")[0] == 200
    for body in (b"[]", b"{", b"\xff\xfe", b'{"NextToken": 5}', b'"x"', b"{" * 5000):
        status, answer = ask("ListHsms", body)
        assert (status, answer["__type"]) == (400, "SerializationException"), (body[:20], answer)
    status, answer = ask("NoSuchThing", b"{}")
    assert (status, answer["__type"]) == (400, "UnknownOperationException"), answer
    status, answer = ask("ListHsms", b"{}", Host="evil.example")
    assert status == 403, answer
    status, answer = ask("ListHsms", b" " * (2 << 20))
    assert status == 413, answer
    assert ask("ListHsms", b"{}")[0] == 200


def the_daemon_is_away():
    c = client()
    c.list_hsms()
    os.kill(int(os.environ["HSMD_PID"]), signal.SIGKILL)
    answer = refused("ServiceUnavailableException", c.list_hsms)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 503


def address():
    return urllib.parse.urlsplit(os.environ["AWS_ENDPOINT_URL"]).netloc


def credentials():
    return botocore.credentials.Credentials(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])


def signed(headers, body):
    """botocore's own signature over these headers."""
    request = botocore.awsrequest.AWSRequest("POST", os.environ["AWS_ENDPOINT_URL"] + "/", headers, body)
    if "Host" not in headers:
        request.headers["Host"] = address()
    botocore.auth.SigV4Auth(credentials(), "cloudhsm", os.environ["AWS_DEFAULT_REGION"]).add_auth(request)
    return dict(request.headers.items())


def sign_at(when, headers, body):
    """The signature of a request at another time, from the definition (AWS SigV4)."""
    day, stamp, region = when.strftime("%Y%m%d"), when.strftime("%Y%m%dT%H%M%SZ"), os.environ["AWS_DEFAULT_REGION"]
    headers = {**headers, "Host": address(), "X-Amz-Date": stamp}
    names = sorted(name.lower() for name in headers)
    lower = {name.lower(): value for name, value in headers.items()}
    canonical = "\n".join(["POST", "/", "", *("%s:%s" % (name, lower[name]) for name in names), "", ";".join(names),
                           hashlib.sha256(body).hexdigest()])
    scope = "/".join([day, region, "cloudhsm", "aws4_request"])
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = ("AWS4" + os.environ["AWS_SECRET_ACCESS_KEY"]).encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    headers["Authorization"] = "AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s" % (
        os.environ["AWS_ACCESS_KEY_ID"], scope, ";".join(names), signature)
    return headers


def send(headers, body):
    connection = http.client.HTTPConnection(address(), timeout=20)
    connection.request("POST", "/", body, headers)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


if __name__ == "__main__":
    globals()[sys.argv[1]]()
