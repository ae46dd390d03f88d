//! Records come through a door while the shards of their stream are split and merged.

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};

use futures::future::join_all;
use stream::Stream;

use super::each_record;

const WRITERS: usize = 3;
const REQUESTS: usize = 30;

/// Sends requests of `many` records, each a key and a number, with `send`, and cuts the stream anew for each that is answered. Then
/// every record is there once, and those of a key in the order in which they were sent; `number` reads them. Many, so that the shards
/// change also while the records of a request are mapped.
pub(crate) async fn each_once_and_in_order<Answered: Future<Output = ()>>(
    stream: &Arc<Stream>,
    many: usize,
    send: impl Fn(Vec<(String, usize)>) -> Answered,
    number: impl Fn(&[u8]) -> usize,
) {
    let (answer, answered) = mpsc::channel();
    let changed = stream.clone();
    let change = tokio::task::spawn_blocking(move || {
        for (_answered, shards) in answered.iter().zip([2, 4, 1].into_iter().cycle()) {
            changed.reshape(shards).expect("is cut anew");
        }
    });
    let send = &send;
    join_all((0..WRITERS).map(|writer| {
        let answer = answer.clone();
        async move {
            for request in 0..REQUESTS {
                let record = |n: usize| (format!("{writer}-{}", n % 2), request * many + n);
                send((0..many).map(record).collect()).await;
                answer.send(()).expect("is heard");
            }
        }
    }))
    .await;
    drop(answer);
    change.await.expect("no panic");
    let mut seen: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    each_record(stream, |_, record| {
        let key = String::from_utf8(record.key.expect("a key").to_vec()).expect("text");
        seen.entry(key).or_default().push(number(record.value));
    });
    assert_eq!(seen.len(), 2 * WRITERS);
    for (key, numbers) in seen {
        let parity = usize::from(key.ends_with('1'));
        let expected: Vec<usize> = (0..REQUESTS * many).filter(|n| n % 2 == parity).collect();
        assert_eq!(numbers, expected, "{key}");
    }
}
