"""All attempts together, and what is left out of some sweep, each with the reason."""

from __future__ import annotations

from tests.isolation.events_admin_attempts import ADMIN, CLUSTER
from tests.isolation.events_data_attempts import DATA
from tests.isolation.events_group_attempts import GROUPS, TRANSACTIONS
from tests.isolation.events_share_attempts import SHARES

EVERYTHING = tuple(
    attempt
    for table in (DATA, GROUPS, TRANSACTIONS, SHARES, ADMIN, CLUSTER)
    for attempt in table.attempts
)

# What some broker may offer and no attempt says, each with the reason. No broker of ours offers it.
UNTRIED = {
    "StreamsGroupHeartbeat": "early access in 4.1, switched off",
    "StreamsGroupDescribe": "as above",
}
# Offered only where a plugin collects clients' metrics, but served in any case.
TELEMETRY = {"GetTelemetrySubscriptions", "PushTelemetry"}

# What nobody was seen to get through with, an administrator neither, and why.
INERT = {
    "CreateTopics: of its topic's name": "the topic is there",
    "IncrementalAlterConfigs: resource 8: kafka": "the broker logs by another library",
    "ElectLeaders: of its topics": "one broker: the leader is the preferred one",
    "AlterReplicaLogDirs: of its topics": "one folder of data",
    "DescribeLogDirs: of its topics": "its names are what was asked",
    "CreateDelegationToken: for itself, another may renew": "everybody's right",
    "DescribeDelegationToken: of the other": "it has none",
    "RenewDelegationToken: a guess": "nobody has it",
    "ExpireDelegationToken: a guess": "nobody has it",
    "RemoveRaftVoter: the only one": "voters are static",
    "ApiVersions: as any client": "everybody's right",
    "DescribeCluster: brokers": "everybody's right",
    "DescribeCluster: controllers": "said to controllers only",
    "SaslHandshake: again": "once a session",
    "SaslAuthenticate: as another within the session": "once a session",
}
# What would end the broker, or the test's own access, if it got through.
FATAL = {
    "AddRaftVoter: another", "AlterUserScramCredentials: of norn's admin",
    "UnregisterBroker: the broker", "UpdateFeatures: no more KIP-848",
}  # fmt: skip
