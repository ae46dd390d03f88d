//! A sender of deliveries in the HTTP endpoint's format: it keeps each one until it is answered, and sends it again as it was.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::Range;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use crate::load::{self, Sent};

/// Answered deliveries that a sender keeps, to send them once more after the next start.
const ANSWERED_KEPT: usize = 3;
/// One answered delivery in this many is sent again at once, as if the answer had been lost.
const REPEAT_AT_ONCE: u32 = 10;
/// What stands for the time at which a delivery was made: it is part of what makes two of them the same.
const TIMESTAMP: i64 = 1_578_090_901_599;

/// One delivery, kept so that it is the same, byte for byte, when it is sent again.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    id: String,
    numbers: Range<u64>,
    body: String,
}

impl Delivery {
    fn new(numbers: Range<u64>) -> Self {
        let id = format!("5ea1ab1e-0000-4000-8000-{:012x}", numbers.start);
        let record = |number| json!({ "data": BASE64_STANDARD.encode(load::event(number)) });
        let records: Vec<Value> = numbers.clone().map(record).collect();
        let body = json!({ "requestId": id, "timestamp": TIMESTAMP, "records": records }).to_string();
        Self { id, numbers, body }
    }

    /// Whether it was answered that all of it is stored.
    async fn send(&self, client: &reqwest::Client, door: SocketAddr, stream: &str) -> bool {
        let request = client
            .post(format!("http://{door}/firehose/{stream}"))
            .header("content-type", "application/json")
            .header("x-amz-firehose-request-id", &self.id)
            .header("x-amz-firehose-protocol-version", "1.0")
            .body(self.body.clone());
        matches!(request.send().await, Ok(answer) if answer.status() == 200)
    }
}

/// What one sender holds.
#[derive(Debug)]
pub(crate) struct Sender {
    stream: &'static str,
    /// Not answered yet: nothing new is sent before it is.
    open: Option<Delivery>,
    /// The last that were answered, newest last.
    answered: VecDeque<Delivery>,
    /// Which server took the last one.
    door: Option<SocketAddr>,
    again: Again,
}

/// Deliveries that were sent again and answered: those whose first answer never came, and those that had been answered.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Again {
    pub(crate) open: u64,
    pub(crate) answered: u64,
}

impl std::ops::AddAssign for Again {
    fn add_assign(&mut self, more: Self) {
        self.open += more.open;
        self.answered += more.answered;
    }
}

impl Sender {
    pub(crate) fn new(stream: &'static str) -> Self {
        Self { stream, open: None, answered: VecDeque::new(), door: None, again: Again::default() }
    }

    /// Sends a new delivery of so many records; before it, to a server that has just started, those kept from before.
    /// Whether all of that was answered.
    pub(crate) async fn turn(
        &mut self,
        client: &reqwest::Client,
        door: SocketAddr,
        sent: &Sent,
        random: &mut StdRng,
        count: u64,
    ) -> bool {
        if self.door != Some(door) {
            if !self.send_again(client, door, sent).await {
                return false;
            }
            self.door = Some(door);
        }
        // Answered with a refusal: also that is sent again until it is taken.
        let delivery = self.open.take().unwrap_or_else(|| Delivery::new(sent.reserve(count)));
        if !delivery.send(client, door, self.stream).await {
            self.open = Some(delivery);
            return false;
        }
        sent.acknowledge(delivery.numbers.clone());
        let again = random.random_ratio(1, REPEAT_AT_ONCE);
        if again && delivery.send(client, door, self.stream).await {
            self.again.answered += 1;
        }
        self.keep(delivery);
        true
    }

    /// Sends everything again that is kept, also what was answered. Whether all of it was answered (again).
    pub(crate) async fn send_again(&mut self, client: &reqwest::Client, door: SocketAddr, sent: &Sent) -> bool {
        if let Some(open) = self.open.take() {
            if !open.send(client, door, self.stream).await {
                self.open = Some(open);
                return false;
            }
            sent.acknowledge(open.numbers.clone());
            self.again.open += 1;
            self.keep(open);
        }
        for delivery in &self.answered {
            if !delivery.send(client, door, self.stream).await {
                return false;
            }
            self.again.answered += 1;
        }
        true
    }

    /// What was sent again so far.
    pub(crate) fn again(&self) -> Again {
        self.again
    }

    fn keep(&mut self, delivery: Delivery) {
        self.answered.push_back(delivery);
        if self.answered.len() > ANSWERED_KEPT {
            self.answered.pop_front();
        }
    }
}
