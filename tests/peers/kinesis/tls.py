"""tls.py make FOLDER: writes a certificate authority (ca.pem) and a certificate for localhost and 127.0.0.1 (cert.pem, key.pem).
tls.py walk FOLDER: boto3 through TLS with that authority: puts and reads; without it, it must refuse to talk."""

import os
import sys

import trustme
from botocore.exceptions import SSLError

from door import active, client, expect, read, tell

what, folder = sys.argv[1:]
AUTHORITY = os.path.join(folder, "ca.pem")
NAME = "tls"

if what == "make":
    authority = trustme.CA()
    authority.cert_pem.write_to_path(AUTHORITY)
    issued = authority.issue_cert("localhost", "127.0.0.1")
    issued.private_key_pem.write_to_path(os.path.join(folder, "key.pem"))
    with open(os.path.join(folder, "cert.pem"), "wb") as file:
        file.write(b"".join(part.bytes() for part in issued.cert_chain_pems))
    tell(made=folder)
else:
    kinesis = client(verify=AUTHORITY)
    kinesis.create_stream(StreamName=NAME, ShardCount=1)
    arn = active(kinesis, NAME)["StreamARN"]
    kinesis.put_record(StreamName=NAME, PartitionKey="k", Data=b"over TLS")
    expect([record["Data"] for record in read(kinesis, NAME, "shardId-000000000000")], [b"over TLS"], "what was read over TLS")
    consumer = kinesis.register_stream_consumer(StreamARN=arn, ConsumerName="reader")["Consumer"]["ConsumerARN"]
    position = {"Type": "TRIM_HORIZON"}
    stream = kinesis.subscribe_to_shard(ConsumerARN=consumer, ShardId="shardId-000000000000", StartingPosition=position)["EventStream"]
    pushed = next(event["SubscribeToShardEvent"]["Records"] for event in stream if event["SubscribeToShardEvent"]["Records"])
    expect([record["Data"] for record in pushed], [b"over TLS"], "what was pushed over TLS")
    stream.close()
    try:
        client().list_streams()
        sys.exit("boto3 talked to a server whose certificate it cannot know")
    except SSLError:
        pass
    kinesis.delete_stream(StreamName=NAME, EnforceConsumerDeletion=True)
    tell(done=NAME)
