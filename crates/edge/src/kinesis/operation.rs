//! The operations of the published API: one table that the door, the counts, the limits and the tests all read.

/// Defines the enumeration, its names and the list of all.
macro_rules! operations {
    ($($name:ident)*) => {
        /// An operation of `Kinesis_20131202`, every one of the current model.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub(crate) enum Operation {
            $($name),*
        }

        impl Operation {
            /// All of them.
            pub(crate) const ALL: &[Self] = &[$(Self::$name),*];

            /// Its name on the wire.
            pub(crate) const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name)),*
                }
            }
        }
    };
}

operations! {
    AcknowledgeDeadLetterQueueRecords AcknowledgeQueueRecords AddTagsToStream CreateChannel CreateQueue CreateStream
    DecreaseStreamRetentionPeriod DeleteChannel DeleteQueue DeleteResourcePolicy DeleteStream DeregisterStreamConsumer
    DescribeAccountSettings DescribeChannel DescribeLimits DescribeQueue DescribeStream DescribeStreamConsumer
    DescribeStreamSummary DisableEnhancedMonitoring EnableEnhancedMonitoring GetRecords GetResourcePolicy GetShardIterator
    IncreaseStreamRetentionPeriod ListChannels ListQueues ListShards ListStreamConsumers ListStreams ListTagsForResource
    ListTagsForStream MergeShards PutRecord PutRecords PutResourcePolicy ReceiveDeadLetterQueueRecords ReceiveQueueRecords
    RegisterStreamConsumer RemoveTagsFromStream RestoreDeadLetterQueueRecords SplitShard StartStreamEncryption
    StopStreamEncryption SubscribeToShard TagResource UntagResource UpdateAccountSettings UpdateChannel
    UpdateDeadLetterQueueRecordsVisibility UpdateMaxRecordSize UpdateQueue UpdateQueueRecordsVisibility UpdateShardCount
    UpdateStreamMode UpdateStreamRecordDistributionStrategy UpdateStreamWarmThroughput
}

impl Operation {
    /// The operation of that name.
    pub(crate) fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|operation| operation.name() == name)
    }

    /// Its place in [`Operation::ALL`].
    pub(crate) const fn index(self) -> usize {
        self as usize
    }

    /// Calls that the service takes in a second from one account; `None` for those limited by shard or not at all.
    pub(crate) const fn rate(self) -> Option<u32> {
        match self {
            Self::PutRecord
            | Self::PutRecords
            | Self::GetRecords
            | Self::GetShardIterator
            | Self::SubscribeToShard
            | Self::ListShards => None,
            Self::DescribeLimits => Some(1),
            Self::DescribeStream | Self::UpdateShardCount => Some(10),
            Self::DescribeStreamSummary | Self::DescribeStreamConsumer => Some(20),
            _ => Some(5),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_of_the_model_is_here_once() {
        assert_eq!(Operation::ALL.len(), 57);
        for (index, operation) in Operation::ALL.iter().enumerate() {
            assert_eq!((Operation::by_name(operation.name()), operation.index()), (Some(*operation), index));
        }
        assert_eq!(Operation::by_name("NoSuchThing"), None);
    }
}
