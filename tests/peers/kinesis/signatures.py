"""Who is let in: signatures in the header and in the query, as botocore makes them, and every way in which one can be wrong.

Each wrong one must be refused with the published code and must not do what it asked for."""

import datetime
import json
import os
import sys
import urllib.error
import urllib.request

import botocore.auth
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from door import active, client, expect, must, tell

URL = os.environ["AWS_ENDPOINT_URL"]
ID, SECRET = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
NAME = "signatures"
JSON = "application/x-amz-json-1.1"


class SigV4Query(SigV4QueryAuth):
    """The query form with the body signed as it is: botocore's own takes a JSON body apart into the query."""

    def _modify_request_before_signing(self, request):
        body, request.data = request.data, b""
        super()._modify_request_before_signing(request)
        request.data = body


def request(operation: str, body: dict) -> AWSRequest:
    headers = {"content-type": JSON, "x-amz-target": f"Kinesis_20131202.{operation}"}
    return AWSRequest("POST", URL + "/", headers=headers, data=json.dumps(body).encode())


def send(signed: AWSRequest) -> tuple:
    prepared = signed.prepare()
    try:
        with urllib.request.urlopen(urllib.request.Request(prepared.url, prepared.body, dict(prepared.headers), method="POST"), timeout=30) as answer:
            return answer.status, json.loads(answer.read() or b"{}")
    except urllib.error.HTTPError as refusal:
        return refusal.code, json.loads(refusal.read())


def sign(how=SigV4Auth, key: str = ID, secret: str = SECRET, service: str = "kinesis", region: str = "us-east-1", operation: str = "ListStreams", body=None, **more) -> AWSRequest:
    asked = request(operation, body or {})
    how(Credentials(key, secret), service, region, **more).add_auth(asked)
    return asked


def taken(what: str, signed: AWSRequest) -> dict:
    status, answer = send(signed)
    expect(status, 200, f"{what}: {answer}")
    return answer


def refused(codes: set, what: str, signed: AWSRequest) -> None:
    status, answer = send(signed)
    code = answer.get("__type", "").rsplit("#", 1)[-1]
    must(status in (400, 403) and code in codes, f"{what}: expected one of {sorted(codes)}, found {status} {answer}")


def at(moment: datetime.datetime, **more) -> AWSRequest:
    """Signed as if it were that moment."""
    real = botocore.auth.get_current_datetime
    botocore.auth.get_current_datetime = lambda *_, **__: moment.replace(tzinfo=None) if real().tzinfo is None else moment
    try:
        return sign(**more)
    finally:
        botocore.auth.get_current_datetime = real


kinesis = client()
kinesis.create_stream(StreamName=NAME, ShardCount=1)
active(kinesis, NAME)
taken("a signature in the header", sign())
taken("a signature in the query", sign(SigV4Query, expires=60))
put = {"StreamName": NAME, "PartitionKey": "k", "Data": "aGVsbG8="}
must(taken("a record signed in the query", sign(SigV4Query, expires=60, operation="PutRecord", body=put))["SequenceNumber"], "no sequence number")

now = datetime.datetime.now(datetime.timezone.utc)
forged = put | {"Data": "Zm9yZ2Vk"}
late = now - datetime.timedelta(hours=1)
WRONG = {"InvalidSignatureException"}
UNKNOWN = {"UnrecognizedClientException", "InvalidClientTokenId"}
for how in (SigV4Auth, SigV4Query):
    form = f"{how.__name__}: "
    refused(WRONG, form + "another secret", sign(how, secret=SECRET + "x", operation="PutRecord", body=forged))
    refused(UNKNOWN, form + "an unknown key", sign(how, key="AKIDNOBODY", operation="PutRecord", body=forged))
    refused(WRONG | {"CredentialScopeException"}, form + "another service", sign(how, service="s3", operation="PutRecord", body=forged))
    changed = sign(how, operation="PutRecord", body=put)
    changed.data = json.dumps(forged).encode()
    refused(WRONG, form + "a body that was changed", changed)
    other = sign(how, operation="ListStreams")
    other.headers.replace_header("x-amz-target", "Kinesis_20131202.DeleteStream")
    other.data = json.dumps({"StreamName": NAME}).encode()
    refused(WRONG, form + "another operation under a good signature", other)
refused(WRONG | {"RequestExpired"}, "a header signed an hour ago", at(late, operation="PutRecord", body=forged))
refused(WRONG | {"RequestExpired"}, "a header signed in an hour", at(now + datetime.timedelta(hours=1), operation="PutRecord", body=forged))
refused(WRONG | {"RequestExpired", "AccessDeniedException"}, "a query that ran out", at(late, how=SigV4Query, expires=60, operation="PutRecord", body=forged))
refused({"MissingAuthenticationTokenException"}, "no signature", request("PutRecord", forged))
broken = sign(operation="PutRecord", body=forged)
broken.headers.replace_header("Authorization", "AWS4-HMAC-SHA256 Credential=")
refused(WRONG | {"IncompleteSignatureException", "MissingAuthenticationTokenException"}, "half a header", broken)

place = kinesis.get_shard_iterator(StreamName=NAME, ShardId="shardId-000000000000", ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
expect([record["Data"] for record in kinesis.get_records(ShardIterator=place)["Records"]], [b"hello"], "what was stored")
wrong = client(aws_access_key_id=ID, aws_secret_access_key="wrong")
try:
    wrong.list_streams()
    sys.exit("boto3 with a wrong secret was let in")
except wrong.exceptions.ClientError as error:
    must(error.response["Error"]["Code"] in WRONG, f"boto3 with a wrong secret: {error}")
kinesis.delete_stream(StreamName=NAME)
tell(done=NAME)
