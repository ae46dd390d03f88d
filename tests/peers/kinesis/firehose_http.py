"""firehose_http.py URL TABLE FIRST KEY: one delivery in the format that a delivery stream sends to an HTTP endpoint, as recorded: gzip,
its headers, three records numbered from FIRST. Then the same without the key, broken, and of an unknown table."""

import base64
import gzip
import json
import sys
import urllib.error
import urllib.request
import uuid

from door import expect, must, tell

url, table, first, key = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]


def deliver(body: bytes, request_id: str, access_key: str | None = key, squeezed: bool = True, path: str = f"/firehose/{table}") -> tuple:
    headers = {
        "content-type": "application/json",
        "x-amz-firehose-protocol-version": "1.0",
        "x-amz-firehose-request-id": request_id,
        "x-amz-firehose-source-arn": f"arn:aws:firehose:us-east-1:123456789012:deliverystream/{table}",
        "x-amz-firehose-common-attributes": json.dumps({"commonAttributes": {"site": "shop"}}),
        "user-agent": "Amazon Kinesis Data Firehose Agent/1.0",
    }
    if access_key is not None:
        headers["x-amz-firehose-access-key"] = access_key
    if squeezed:
        headers["content-encoding"] = "gzip"
        body = gzip.compress(body)
    request = urllib.request.Request(url + path, body, headers, method="POST")
    try:
        answer = urllib.request.urlopen(request, timeout=30)
    except urllib.error.HTTPError as refusal:
        answer = refusal
    with answer:
        said = json.loads(answer.read())
    expect(answer.headers.get_content_type(), "application/json", "the type of the answer")
    expect(said.get("requestId"), request_id, "the request id of the answer")
    must(isinstance(said.get("timestamp"), int), f"an answer without its time: {said}")
    must(answer.status == 200 or said.get("errorMessage"), f"{answer.status} without errorMessage: {said}")
    return answer.status, said


def body(request_id: str, start: int) -> bytes:
    records = [{"data": base64.b64encode(json.dumps({"n": start + number, "sender": "http"}).encode()).decode()} for number in range(3)]
    return json.dumps({"requestId": request_id, "timestamp": 1763800000000, "records": records}).encode()


one, two = str(uuid.uuid4()), str(uuid.uuid4())
expect(deliver(body(one, first), one)[0], 200, "a delivery")
expect(deliver(body(two, first + 3), two, squeezed=False)[0], 200, "a delivery that is not compressed")
for wrong in (None, key + "x"):
    status, said = deliver(body(one, 0), one, access_key=wrong)
    must(status in (401, 403), f"a delivery with the key {wrong!r}: {status} {said}")
status, said = deliver(body(one, 0)[:-10], one)
expect(status, 400, f"half a delivery: {said}")
status, said = deliver(body(one, 0), one, path="/firehose/none")
must(status in (400, 404), f"a delivery to an unknown table: {status} {said}")
tell(put=6)
