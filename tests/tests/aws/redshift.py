"""Redshift's HSM operations through boto3. Each function is a scenario; the process's environment names endpoint and keys, and
for those with an HSM the control plane, the partition and the security officer."""

import datetime
import hashlib
import hmac
import http.client
import json
import os
import re
import subprocess
import sys
import time
import urllib.parse
import xml.etree.ElementTree

import boto3
import botocore.auth
import botocore.awsrequest
import botocore.credentials
import botocore.exceptions
import botocore.session

PASSWORD = "Passw0rd"
REGION = os.environ["AWS_DEFAULT_REGION"]
ARN = "arn:aws:redshift:%s:000000000000:%%s:%%s" % REGION


def client(**options):
    return boto3.client("redshift", **options)


def refused(code, call, status=400, **arguments):
    try:
        call(**arguments)
    except botocore.exceptions.ClientError as error:
        answer = error.response
        assert answer["Error"]["Code"] == code, answer
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == status, answer
        assert answer["ResponseMetadata"]["RequestId"], answer
        return answer
    raise AssertionError("not refused: %r" % arguments)


def seen(find, wanted, patience=30):
    """Waits until something is so."""
    end = time.monotonic() + patience
    while True:
        found = find()
        if wanted(found):
            return found
        assert time.monotonic() < end, found
        time.sleep(0.05)


def openssl(*arguments, text):
    return subprocess.run(["openssl", *arguments], input=text.encode(), check=True, capture_output=True).stdout.decode()


def some_certificate(name="elsewhere"):
    folder = os.environ["HOME"]
    file = os.path.join(folder, name + ".pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
                    "30", "-subj", "/CN=" + name, "-keyout", os.path.join(folder, name + ".key"), "-out", file],
                   check=True, capture_output=True)
    with open(file) as read:
        return read.read()


# --- certificates, configurations, tags: no HSM is needed ---

def certificates():
    c = client()
    made = c.create_hsm_client_certificate(HsmClientCertificateIdentifier="myhsmclientcert")["HsmClientCertificate"]
    assert made["HsmClientCertificateIdentifier"] == "myhsmclientcert" and made["Tags"] == [], made
    pem = made["HsmClientCertificatePublicKey"]
    assert pem.startswith("-----BEGIN CERTIFICATE-----\n") and pem.endswith("-----END CERTIFICATE-----\n"), pem
    assert 600 <= len(pem) <= 2400, len(pem)
    text = openssl("x509", "-noout", "-text", text=pem)
    assert "CN = myhsmclientcert" in text and "Public-Key: (2048 bit)" in text and "Client Authentication" in text, text
    # It is one that the HSM's side takes.
    assert boto3.client("cloudhsm").create_luna_client(Label="myhsmclientcert", Certificate=pem)["ClientArn"]
    listed = c.describe_hsm_client_certificates()["HsmClientCertificates"]
    assert [one["HsmClientCertificatePublicKey"] for one in listed] == [pem], listed
    refused("HsmClientCertificateAlreadyExistsFault", c.create_hsm_client_certificate,
            HsmClientCertificateIdentifier="myhsmclientcert")
    refused("HsmClientCertificateNotFoundFault", c.describe_hsm_client_certificates, HsmClientCertificateIdentifier="x")
    refused("HsmClientCertificateNotFoundFault", c.delete_hsm_client_certificate, HsmClientCertificateIdentifier="x")
    refused("InvalidParameterValue", c.create_hsm_client_certificate, HsmClientCertificateIdentifier="a b/c")
    tags = [{"Key": "stage", "Value": "test"}, {"Key": "owner", "Value": "ä<&>\""}]
    second = c.create_hsm_client_certificate(HsmClientCertificateIdentifier="second", Tags=tags)["HsmClientCertificate"]
    assert sorted(second["Tags"], key=lambda tag: tag["Key"]) == sorted(tags, key=lambda tag: tag["Key"]), second
    found = c.describe_hsm_client_certificates(TagKeys=["stage"], TagValues=["test", "else"])["HsmClientCertificates"]
    assert [one["HsmClientCertificateIdentifier"] for one in found] == ["second"], found
    # The configuration of this test allows three.
    c.create_hsm_client_certificate(HsmClientCertificateIdentifier="third")
    refused("HsmClientCertificateQuotaExceededFault", c.create_hsm_client_certificate,
            HsmClientCertificateIdentifier="fourth")
    for name in ("myhsmclientcert", "second", "third"):
        c.delete_hsm_client_certificate(HsmClientCertificateIdentifier=name)
    assert c.describe_hsm_client_certificates()["HsmClientCertificates"] == []


def configuration(c, name, **changes):
    arguments = dict(HsmConfigurationIdentifier=name, Description="an HSM", HsmIpAddress="127.0.0.1",
                     HsmPartitionName="demo", HsmPartitionPassword="a password of a partition",
                     HsmServerPublicCertificate=AUTHORITY[0])
    arguments.update(changes)
    return c.create_hsm_configuration(**arguments)["HsmConfiguration"]


AUTHORITY = [""]


def configurations():
    c = client()
    AUTHORITY[0] = some_certificate()
    made = configuration(c, "hsm-0", Tags=[{"Key": "a", "Value": ""}])
    assert made == {"HsmConfigurationIdentifier": "hsm-0", "Description": "an HSM", "HsmIpAddress": "127.0.0.1",
                    "HsmPartitionName": "demo", "Tags": [{"Key": "a", "Value": ""}]}, made
    wrong = [{"HsmIpAddress": "hsm.example"}, {"HsmServerPublicCertificate": "none"}, {"HsmPartitionPassword": ""},
             {"HsmPartitionName": ""}, {"Description": ""}, {"HsmServerPublicCertificate": "x" * 30000}]
    for change in wrong:
        answer = refused("InvalidParameterValue", lambda **a: configuration(c, "other", **a), **change)
        assert list(change)[0] in answer["Error"]["Message"], answer
        assert "a password" not in answer["Error"]["Message"], answer
    refused("HsmConfigurationAlreadyExistsFault", lambda: configuration(c, "hsm-0"))
    refused("HsmConfigurationNotFoundFault", c.describe_hsm_configurations, HsmConfigurationIdentifier="x")
    refused("HsmConfigurationNotFoundFault", c.delete_hsm_configuration, HsmConfigurationIdentifier="x")
    for number in range(1, 45):
        configuration(c, "hsm-%d" % number)
    pages = list(c.get_paginator("describe_hsm_configurations").paginate(PaginationConfig={"PageSize": 20}))
    assert [len(page["HsmConfigurations"]) for page in pages] == [20, 20, 5]
    names = [one["HsmConfigurationIdentifier"] for page in pages for one in page["HsmConfigurations"]]
    assert len(set(names)) == 45, names
    assert "password" not in json.dumps(pages).lower() and "CERTIFICATE" not in json.dumps(pages)
    for most in (19, 101):
        refused("InvalidParameterValue", c.describe_hsm_configurations, MaxRecords=most)
    refused("InvalidParameterValue", c.describe_hsm_configurations, Marker="%")
    refused("HsmConfigurationQuotaExceededFault", lambda: configuration(c, "hsm-45"))
    c.delete_hsm_configuration(HsmConfigurationIdentifier="hsm-0")
    refused("HsmConfigurationNotFoundFault", c.describe_hsm_configurations, HsmConfigurationIdentifier="hsm-0")


def tags():
    c = client()
    AUTHORITY[0] = some_certificate()
    c.create_hsm_client_certificate(HsmClientCertificateIdentifier="cert")
    configuration(c, "hsm")
    c.create_cluster(ClusterIdentifier="plain", NodeType="dc2.large", MasterUsername="admin", MasterUserPassword=PASSWORD,
                     Tags=[{"Key": "of", "Value": "cluster"}])
    cert, hsm, cluster = ARN % ("hsmclientcertificate", "cert"), ARN % ("hsmconfiguration", "hsm"), ARN % ("cluster", "plain")
    c.create_tags(ResourceName=cert, Tags=[{"Key": "stage", "Value": "one"}, {"Key": "owner", "Value": "me"}])
    c.create_tags(ResourceName=cert, Tags=[{"Key": "stage", "Value": "two"}])
    c.create_tags(ResourceName=hsm, Tags=[{"Key": "stage", "Value": "two"}])
    rows = c.describe_tags()["TaggedResources"]
    flat = sorted((row["ResourceName"], row["ResourceType"], row["Tag"]["Key"], row["Tag"]["Value"]) for row in rows)
    assert flat == sorted([(cert, "HSM certificate", "owner", "me"), (cert, "HSM certificate", "stage", "two"),
                           (hsm, "HSM connection", "stage", "two"), (cluster, "Cluster", "of", "cluster")]), flat
    count = lambda **arguments: len(c.describe_tags(**arguments)["TaggedResources"])
    assert count(ResourceName=cert) == 2 and count(ResourceType="HSM certificate") == 2
    assert count(ResourceType="hsm connection") == 1 and count(ResourceType="Snapshot") == 0
    assert count(TagKeys=["stage"]) == 2 and count(TagKeys=["stage"], TagValues=["one"]) == 0
    refused("InvalidParameterValue", c.describe_tags, ResourceType="x")
    refused("InvalidParameterCombination", c.describe_tags, ResourceName=cert, ResourceType="HSM certificate")
    gone = ARN % ("hsmclientcertificate", "none")
    for call in (lambda **a: c.create_tags(Tags=[{"Key": "a", "Value": "b"}], **a), c.describe_tags,
                 lambda **a: c.delete_tags(TagKeys=["a"], **a)):
        refused("ResourceNotFoundFault", call, 404, ResourceName=gone)
        refused("ResourceNotFoundFault", call, 404, ResourceName=cert.replace(REGION, "elsewhere"))
        refused("InvalidParameterValue", call, ResourceName="nonsense")
    invalid = [[{"Key": "aws:x", "Value": "y"}], [{"Key": "", "Value": ""}], [{"Key": "k" * 129, "Value": ""}],
               [{"Key": "k", "Value": "v" * 257}], [{"Key": "k", "Value": "1"}, {"Key": "k", "Value": "2"}], []]
    for tags in invalid:
        refused("InvalidTagFault", c.create_tags, ResourceName=cert, Tags=tags)
    refused("TagLimitExceededFault", c.create_tags, ResourceName=cert,
            Tags=[{"Key": "k%d" % number, "Value": ""} for number in range(49)])
    refused("TagLimitExceededFault", c.create_hsm_client_certificate, HsmClientCertificateIdentifier="more",
            Tags=[{"Key": "k%d" % number, "Value": ""} for number in range(51)])
    c.delete_tags(ResourceName=cert, TagKeys=["stage", "none"])
    assert count(ResourceName=cert) == 1


# --- how requests look ---

def credentials():
    return botocore.credentials.Credentials(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])


def address():
    return urllib.parse.urlsplit(os.environ["AWS_ENDPOINT_URL"]).netloc


def send(method, path, body=b"", headers={}):
    connection = http.client.HTTPConnection(address(), timeout=20)
    connection.request(method, path, body, dict(headers))
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def form(body, sign=True, headers={}):
    """A signed form."""
    request = botocore.awsrequest.AWSRequest("POST", os.environ["AWS_ENDPOINT_URL"] + "/", {
        "Content-Type": "application/x-www-form-urlencoded; charset=utf-8", "Host": address(), **headers}, body)
    if sign:
        botocore.auth.SigV4Auth(credentials(), "redshift", REGION).add_auth(request)
    return send("POST", "/", body, request.headers.items())


def code(text):
    return xml.etree.ElementTree.fromstring(text).find("{*}Error/{*}Code").text


def presigned():
    c = client()
    # The sample request of the API reference: a presigned address. SDKs make them for GET and POST.
    for method, name in (("GET", "one"), ("POST", "two")):
        url = c.generate_presigned_url("create_hsm_client_certificate", HttpMethod=method, ExpiresIn=300,
                                       Params={"HsmClientCertificateIdentifier": name})
        path = urllib.parse.urlsplit(url)
        status, text = send(method, "/?" + path.query)
        assert status == 200 and "<HsmClientCertificateIdentifier>%s</" % name in text and "<Tags/>" in text, text
        assert text.startswith('<CreateHsmClientCertificateResponse xmlns="http://redshift.amazonaws.com/doc/2012-12-01/">')
        status, text = send(method, "/?" + path.query.replace("=" + name, "=other"))
        assert (status, code(text)) == (403, "SignatureDoesNotMatch"), text
    sample()


def requests():
    # All spellings of lists.
    for number, tags in enumerate(("Tags.Tag.1.Key=a&Tags.Tag.1.Value=b", "Tags.member.1.Key=a&Tags.member.1.Value=b")):
        status, text = form("Action=CreateHsmClientCertificate&Version=2012-12-01&HsmClientCertificateIdentifier=n%d&%s"
                            % (number, tags))
        assert status == 200 and "<Tag><Key>a</Key><Value>b</Value></Tag>" in text, text
    cases = [
        ("Version=2012-12-01", 400, "MissingAction"),
        ("Action=Nothing&Version=2012-12-01", 400, "InvalidAction"),
        ("Action=DescribeTags&Version=2010-01-01", 400, "InvalidParameterValue"),
        ("Action=CreateHsmClientCertificate&Version=2012-12-01", 400, "MissingParameter"),
        ("Action=DescribeTags&MaxRecords=many", 400, "MalformedInput"),
        ("Action=DescribeTags&TagKeys.TagKey.x=1", 400, "MalformedInput"),
        ("Action=DescribeTags&Action=DescribeTags", 404, "MalformedQueryString"),
        ("Action=DescribeTags&a=%zz", 404, "MalformedQueryString"),
        ("Action=DeleteCluster&ClusterIdentifier=c&SkipFinalClusterSnapshot=maybe", 400, "MalformedInput"),
        ("Action=CreateCluster&ClusterIdentifier=c&NodeType=n&MasterUsername=m&CatalogName=A+B", 400, "ValidationError"),
        ("", 400, "MissingAction"),
        ("<xml/>", 400, "MissingAction"),
    ]
    for body, status, expected in cases:
        found = form(body)
        assert (found[0], code(found[1])) == (status, expected), (body, found)
    assert send("POST", "/", b"Action=DescribeTags")[0] == 403
    status, text = form("Action=DescribeTags", sign=False)
    assert (status, code(text)) == (403, "MissingAuthenticationToken"), text
    status, text = form("Action=DescribeTags&x=" + "y" * (2 << 20))
    assert (status, code(text)) == (413, "RequestEntityTooLarge"), text
    known = os.environ["AWS_ACCESS_KEY_ID"]
    wrong = client(aws_access_key_id=known, aws_secret_access_key="x" * 40)
    refused("SignatureDoesNotMatch", wrong.describe_tags, 403)
    nobody = client(aws_access_key_id="AKIAUNKNOWN000000000", aws_secret_access_key="x" * 40)
    refused("InvalidClientTokenId", nobody.describe_tags, 403)
    # Operations about data say so; all that the newest model knows are answered.
    service = botocore.session.get_session().get_service_model("redshift")
    served = 0
    for name in service.operation_names:
        status, text = form("Action=%s&Version=2012-12-01" % name)
        assert status < 500, (name, text)
        served += status == 200 or code(text) != "UnsupportedOperation"
    assert served == 14, served


def sample():
    """The sample request of the API reference (CreateHsmClientCertificate), signed anew for here and now."""
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    headers = {"content-type": "application/x-www-form-urlencoded; charset=utf-8", "host": address(),
               "user-agent": "sample", "x-amz-content-sha256": empty, "x-amz-date": now}
    query = {
        "Action": "CreateHsmClientCertificate", "HsmClientCertificateIdentifier": "myhsmclientcert",
        "SignatureMethod": "HmacSHA256", "SignatureVersion": "4", "Version": "2012-12-01",
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": "%s/%s/%s/redshift/aws4_request" % (os.environ["AWS_ACCESS_KEY_ID"], now[:8], REGION),
        "X-Amz-Date": now, "X-Amz-SignedHeaders": ";".join(sorted(headers)),
    }
    encoded = "&".join("%s=%s" % (urllib.parse.quote(k, safe=""), urllib.parse.quote(v, safe=""))
                       for k, v in sorted(query.items()))
    canonical = "\n".join(["GET", "/", encoded, *("%s:%s" % (k, headers[k]) for k in sorted(headers)), "",
                           query["X-Amz-SignedHeaders"], empty])
    scope = "/".join([now[:8], REGION, "redshift", "aws4_request"])
    text = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = ("AWS4" + os.environ["AWS_SECRET_ACCESS_KEY"]).encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    status, text = send("GET", "/?%s&X-Amz-Signature=%s" % (encoded, signature), headers=headers)
    assert status == 200 and "<HsmClientCertificateIdentifier>myhsmclientcert</" in text, text


# --- clusters and their HSM ---

def hsmctl(*arguments):
    command = [os.environ["HSMCTL"], "--endpoint", os.environ["HSMD_ENDPOINT"], "-o", "json", *arguments]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout or b"null")


def partition(label):
    return next(one["serial"] for one in hsmctl("partition", "list") if one["label"] == label)


def authority():
    """What the HSM's side gives out for clients to trust."""
    folder = os.path.join(os.environ["HOME"], "someone")
    hsmctl("setup-client", "someone", "--partition", partition("demo"), "--out", folder)
    with open(os.path.join(folder, "CAFile.pem")) as file:
        return file.read()


def register(c, name, token="demo"):
    """What an operator does with a cluster's certificate."""
    pem = c.create_hsm_client_certificate(HsmClientCertificateIdentifier=name)["HsmClientCertificate"]
    boto3.client("cloudhsm").create_luna_client(Label=name, Certificate=pem["HsmClientCertificatePublicKey"])
    if token:
        hsmctl("client", "assign", name, partition(token))


def cluster(c, name, certificate="cert", hsm="hsm", **more):
    arguments = dict(ClusterIdentifier=name, NodeType="dc2.large", MasterUsername="admin", MasterUserPassword=PASSWORD,
                     HsmClientCertificateIdentifier=certificate, HsmConfigurationIdentifier=hsm, Encrypted=True)
    arguments.update(more)
    return c.create_cluster(**arguments)["Cluster"]


def one(c, name):
    return c.describe_clusters(ClusterIdentifier=name)["Clusters"][0]


def reaches(c, name, status, patience=30):
    return seen(lambda: one(c, name), lambda found: found["ClusterStatus"] == status, patience)


def keys(token="demo", pin=None):
    """Labels and ids of the secret keys in a token."""
    tool = ["pkcs11-tool", "--module", os.environ["HSMD_PKCS11_MODULE"], "--token-label", token, "--login", "--pin",
            pin or os.environ["HSMD_PIN"], "--list-objects", "--type", "secrkey"]
    text = subprocess.run(tool, check=True, capture_output=True).stdout.decode()
    assert text.count("never extractable") == text.count("Secret Key Object"), text
    return re.findall(r"label:\s*(\S+)", text), sorted(re.findall(r"(?m)^\s*ID:\s*(\S+)", text))


def story():
    c = client()
    AUTHORITY[0] = authority()
    password = os.environ["HSMD_PIN"]
    register(c, "cert")
    configuration(c, "hsm", HsmPartitionPassword=password)
    assert keys()[1] == []
    made = cluster(c, "sales", Tags=[{"Key": "a", "Value": "b"}], NumberOfNodes=2, ClusterType="multi-node")
    assert made["ClusterStatus"] == "creating" and made["HsmStatus"]["Status"] == "applying", made
    assert made["HsmStatus"]["HsmClientCertificateIdentifier"] == "cert", made
    c.get_waiter("cluster_available").wait(ClusterIdentifier="sales", WaiterConfig={"Delay": 1, "MaxAttempts": 30})
    found = one(c, "sales")
    assert found["HsmStatus"]["Status"] == "active" and found["Encrypted"] is True, found
    assert found["NumberOfNodes"] == 2 and found["Tags"] == [{"Key": "a", "Value": "b"}], found
    assert isinstance(found["ClusterCreateTime"], datetime.datetime), found
    labels, first = keys()
    assert labels == [ARN % ("cluster", "sales")] and len(first) == 1, (labels, first)
    # What is in use stays; a cluster that is there is not made again.
    refused("InvalidHsmClientCertificateStateFault", c.delete_hsm_client_certificate, HsmClientCertificateIdentifier="cert")
    refused("InvalidHsmConfigurationStateFault", c.delete_hsm_configuration, HsmConfigurationIdentifier="hsm")
    refused("ClusterAlreadyExists", lambda: cluster(c, "sales"))
    # Rotation: a new key, and the old one is gone.
    rotating = c.rotate_encryption_key(ClusterIdentifier="sales")["Cluster"]
    assert rotating["ClusterStatus"] == "rotating-keys" and rotating["HsmStatus"]["Status"] == "active", rotating
    reaches(c, "sales", "available")
    second = keys()[1]
    assert len(second) == 1 and second != first, (first, second)
    # ModifyCluster looks whether the key is still there, and renames.
    changed = c.modify_cluster(ClusterIdentifier="sales", NewClusterIdentifier="revenue", Port=5440)["Cluster"]
    assert changed["ClusterStatus"] == "modifying", changed
    assert reaches(c, "revenue", "available")["Endpoint"]["Port"] == 5440
    refused("ClusterNotFound", c.describe_clusters, 404, ClusterIdentifier="sales")
    assert keys()[1] == second
    # The end of a cluster is the end of its key.
    refused("InvalidParameterCombination", c.delete_cluster, ClusterIdentifier="revenue")
    refused("ClusterSnapshotQuotaExceeded", c.delete_cluster, ClusterIdentifier="revenue",
            FinalClusterSnapshotIdentifier="last")
    assert c.delete_cluster(ClusterIdentifier="revenue", SkipFinalClusterSnapshot=True)["Cluster"]["ClusterStatus"] \
        == "deleting"
    c.get_waiter("cluster_deleted").wait(ClusterIdentifier="revenue", WaiterConfig={"Delay": 1, "MaxAttempts": 30})
    assert keys()[1] == []
    c.delete_hsm_client_certificate(HsmClientCertificateIdentifier="cert")
    c.delete_hsm_configuration(HsmConfigurationIdentifier="hsm")


def incompatible():
    c = client()
    AUTHORITY[0] = authority()
    right = os.environ["HSMD_PIN"]
    register(c, "cert")
    register(c, "unassigned", None)
    c.create_hsm_client_certificate(HsmClientCertificateIdentifier="unregistered")
    configuration(c, "hsm", HsmPartitionPassword=right)
    configuration(c, "password", HsmPartitionPassword="wrong-and-secret")
    configuration(c, "server", HsmPartitionPassword=right, HsmServerPublicCertificate=some_certificate())
    configuration(c, "partition", HsmPartitionPassword=right, HsmPartitionName="another")
    configuration(c, "address", HsmPartitionPassword=right, HsmIpAddress="127.0.0.9")
    cases = [("password", "cert", "password"), ("server", "cert", "server"), ("partition", "cert", "partition"),
             ("address", "cert", "address"), ("unassigned", "unassigned", "hsm"), ("unregistered", "unregistered", "hsm")]
    for name, certificate, hsm in cases:
        cluster(c, "c-" + name, certificate, hsm)
    for name, *_ in cases:
        found = reaches(c, "c-" + name, "incompatible-hsm", 60)
        assert found["HsmStatus"]["Status"] == "applying", found
        assert found["ClusterAvailabilityStatus"] == "Failed", found
    assert keys()[1] == []
    refused("InvalidClusterState", c.rotate_encryption_key, ClusterIdentifier="c-password")
    # A cluster whose certificate is registered later recovers by itself.
    pem = c.describe_hsm_client_certificates(HsmClientCertificateIdentifier="unregistered")
    pem = pem["HsmClientCertificates"][0]["HsmClientCertificatePublicKey"]
    boto3.client("cloudhsm").create_luna_client(Label="later", Certificate=pem)
    hsmctl("client", "assign", "later", partition("demo"))
    reaches(c, "c-unregistered", "available", 120)
    # A wrong password is not tried again by itself; the right one helps.
    c.modify_cluster(ClusterIdentifier="c-password", HsmConfigurationIdentifier="hsm")
    assert reaches(c, "c-password", "available")["HsmStatus"] == {
        "HsmClientCertificateIdentifier": "cert", "HsmConfigurationIdentifier": "hsm", "Status": "active"}
    assert len(keys()[1]) == 2
    for name, *_ in cases:
        c.delete_cluster(ClusterIdentifier="c-" + name, SkipFinalClusterSnapshot=True)
    seen(lambda: c.describe_clusters()["Clusters"], lambda found: found == [], 60)
    assert keys()[1] == []


def clusters():
    """What CreateCluster and ModifyCluster refuse, and clusters without an HSM."""
    c = client()
    AUTHORITY[0] = some_certificate()
    c.create_hsm_client_certificate(HsmClientCertificateIdentifier="cert")
    configuration(c, "hsm")
    plain = dict(HsmClientCertificateIdentifier="cert", HsmConfigurationIdentifier="hsm")
    make = lambda **a: cluster(c, "c", **a)
    cases = [
        ("HsmClientCertificateNotFoundFault", 400, dict(certificate="none")),
        ("HsmConfigurationNotFoundFault", 400, dict(hsm="none")),
        ("InvalidParameterCombination", 400, dict(Encrypted=False)),
        ("InvalidParameterValue", 400, dict(NodeType="m5.large")),
        ("InvalidParameterValue", 400, dict(MasterUserPassword="short")),
        ("NumberOfNodesPerClusterLimitExceeded", 400, dict(NumberOfNodes=101)),
        ("ClusterSubnetGroupNotFoundFault", 400, dict(ClusterSubnetGroupName="x")),
        ("ClusterParameterGroupNotFound", 404, dict(ClusterParameterGroupName="x")),
        ("ClusterSecurityGroupNotFound", 404, dict(ClusterSecurityGroups=["x"])),
        ("InvalidElasticIpFault", 400, dict(ElasticIp="1.2.3.4")),
        ("InvalidRetentionPeriodFault", 400, dict(AutomatedSnapshotRetentionPeriod=36)),
        ("InvalidClusterTrack", 400, dict(MaintenanceTrackName="x")),
        ("UnsupportedOperation", 400, dict(MultiAZ=True)),
        ("RedshiftIdcApplicationNotExists", 404, dict(RedshiftIdcApplicationArn="x")),
        ("TagLimitExceededFault", 400, dict(Tags=[{"Key": "k%d" % n, "Value": ""} for n in range(51)])),
        ("InvalidTagFault", 400, dict(Tags=[{"Key": "aws:x", "Value": ""}])),
    ]
    for expected, status, change in cases:
        answer = refused(expected, make, status, **change)
        assert PASSWORD not in json.dumps(answer), answer
    basic = dict(NodeType="dc2.large", MasterUsername="admin", MasterUserPassword=PASSWORD)
    refused("InvalidParameterCombination", c.create_cluster, ClusterIdentifier="c", HsmClientCertificateIdentifier="cert",
            **basic)
    refused("UnsupportedOperation", c.create_cluster, ClusterIdentifier="c", Encrypted=True, **basic)
    refused("InvalidParameterValue", c.create_cluster, ClusterIdentifier="C", **basic)
    made = c.create_cluster(ClusterIdentifier="plain", **basic)["Cluster"]
    assert made["ClusterStatus"] == "creating" and "HsmStatus" not in made and made["Encrypted"] is False, made
    reaches(c, "plain", "available")
    refused("InvalidClusterState", c.rotate_encryption_key, ClusterIdentifier="plain")
    refused("ClusterNotFound", c.rotate_encryption_key, 404, ClusterIdentifier="none")
    refused("ClusterNotFound", c.modify_cluster, 404, ClusterIdentifier="none")
    refused("ClusterNotFound", c.delete_cluster, 404, ClusterIdentifier="none", SkipFinalClusterSnapshot=True)
    refused("ClusterNotFound", c.describe_clusters, 404, ClusterIdentifier="none")
    c.modify_cluster(ClusterIdentifier="plain", NumberOfNodes=99, ClusterType="multi-node", VpcSecurityGroupIds=["sg-1"])
    assert reaches(c, "plain", "available")["VpcSecurityGroups"] == [{"VpcSecurityGroupId": "sg-1", "Status": "active"}]
    c.create_cluster(ClusterIdentifier="large", NumberOfNodes=100, ClusterType="multi-node", **basic)
    refused("NumberOfNodesQuotaExceeded", c.create_cluster, ClusterIdentifier="more", NumberOfNodes=2, **basic)
    reaches(c, "large", "available")
    refused("ClusterAlreadyExists", c.modify_cluster, ClusterIdentifier="plain", NewClusterIdentifier="large")
    c.create_cluster(ClusterIdentifier="third", **basic)
    refused("ClusterQuotaExceeded", c.create_cluster, ClusterIdentifier="fourth", **basic)
    assert [one["ClusterIdentifier"] for one in c.describe_clusters()["Clusters"]] == ["large", "plain", "third"]


def before_the_restart():
    c = client()
    AUTHORITY[0] = authority()
    register(c, "cert")
    configuration(c, "hsm", HsmPartitionPassword=os.environ["HSMD_PIN"])
    for name in ("steady", "lost"):
        cluster(c, name)
        reaches(c, name, "available")
    # The key of one is destroyed behind our back.
    tool = ["pkcs11-tool", "--module", os.environ["HSMD_PKCS11_MODULE"], "--token-label", "demo", "--login", "--pin",
            os.environ["HSMD_PIN"], "--delete-object", "--type", "secrkey", "--label", ARN % ("cluster", "lost")]
    subprocess.run(tool, check=True, capture_output=True)
    # And these are in the midst of it when everything is killed.
    cluster(c, "begun")
    c.rotate_encryption_key(ClusterIdentifier="steady")


def after_the_restart():
    c = client()
    for name in ("steady", "begun"):
        found = reaches(c, name, "available", 60)
        assert found["HsmStatus"]["Status"] == "active", found
    reaches(c, "lost", "incompatible-hsm", 60)
    labels, _ = keys()
    assert sorted(labels) == [ARN % ("cluster", "begun"), ARN % ("cluster", "steady")], labels
    for name in ("steady", "begun", "lost"):
        c.delete_cluster(ClusterIdentifier=name, SkipFinalClusterSnapshot=True)
    seen(lambda: c.describe_clusters()["Clusters"], lambda found: found == [])
    assert keys()[1] == []


if __name__ == "__main__":
    globals()[sys.argv[1]]()
