//! What shoppers do, decided without doing it: an endless sequence of requests in the order of their time.
//!
//! People come at random (a Poisson process whose rate follows the hour of the day), look at some products, popular ones
//! more often, think in between, sometimes buy what they looked at, and some come back later. Programs come too, look at
//! every product quickly and buy nothing. The same seed gives the same requests.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

use super::people::{AGENTS, BOTS, REFERRERS, busyness};
use super::products::Product;

/// Sessions under way at once: beyond it nobody new comes in. At a thousand clicks a second about ten thousand are.
const SESSIONS_MAX: usize = 100_000;
/// Visitors who are remembered, to come back.
const VISITORS_MAX: usize = 20_000;
/// Share of sessions that are programs'.
const BOT_SHARE: f64 = 0.02;
/// Share of sessions of people who were here before.
const RETURN_SHARE: f64 = 0.35;
/// Products that a person looks at in a session: at least one, and another with this chance.
const ONE_MORE: f64 = 0.68;
/// Products looked at in a session at most.
const VIEWS_MAX: u32 = 25;

/// A request that a shopper makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// When, milliseconds since 1970.
    pub(crate) at_ms: i64,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) agent: &'static str,
    /// The address the shopper comes from; empty for none. `/…` is a page of the shop.
    pub(crate) referrer: &'static str,
}

/// Somebody who was here.
#[derive(Clone, Copy, Debug)]
struct Visitor {
    id: u64,
    agent: &'static str,
}

/// One session under way.
#[derive(Debug)]
struct Session {
    visitor: Visitor,
    bot: bool,
    /// Where the first page was found.
    referrer: &'static str,
    step: Step,
    views_left: u32,
    /// For programs: the next product.
    next_product: usize,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Arrive,
    View,
    Buy(usize),
}

/// The shoppers of one shop.
pub(crate) struct Shoppers {
    random: SmallRng,
    products: Arc<[Product]>,
    /// Clicks per second on the average of a day.
    rate: f64,
    /// When the next session begins.
    next_session_ms: f64,
    due: BinaryHeap<Reverse<(i64, u64)>>,
    sessions: std::collections::HashMap<u64, Session>,
    /// Who was here and has gone.
    visitors: VecDeque<Visitor>,
    next_id: u64,
}

impl Shoppers {
    /// Shoppers who click `rate` times a second on the average of a day, from `start_ms` on.
    pub(crate) fn new(seed: u64, rate: f64, products: Arc<[Product]>, start_ms: i64) -> Self {
        Self {
            random: SmallRng::seed_from_u64(seed),
            products,
            rate,
            #[allow(clippy::cast_precision_loss)]
            next_session_ms: start_ms as f64,
            due: BinaryHeap::new(),
            sessions: std::collections::HashMap::new(),
            visitors: VecDeque::new(),
            // Visitors of an earlier run are others.
            next_id: seed << 24,
        }
    }

    /// The next request of anybody.
    pub(crate) fn next(&mut self) -> Request {
        loop {
            #[allow(clippy::cast_possible_truncation)]
            let arrival = self.next_session_ms as i64;
            match self.due.peek() {
                Some(Reverse((at, _))) if *at <= arrival => {}
                _ => {
                    self.arrive(arrival);
                    continue;
                }
            }
            let Some(Reverse((at_ms, id))) = self.due.pop() else { continue };
            if let Some(request) = self.act(at_ms, id) {
                return request;
            }
        }
    }

    /// Clicks of a session on the average: views, and purchases among them.
    fn clicks_per_session(&self) -> f64 {
        let weights: f64 = self.products.iter().map(|product| product.popularity).sum();
        let bought: f64 =
            self.products.iter().map(|product| product.popularity * product.appeal).sum::<f64>() / weights;
        let views = (1.0 - ONE_MORE.powi(VIEWS_MAX as i32)) / (1.0 - ONE_MORE);
        #[allow(clippy::cast_precision_loss)]
        let all = self.products.len() as f64;
        (1.0 - BOT_SHARE) * views * (1.0 + bought) + BOT_SHARE * all
    }

    fn arrive(&mut self, at_ms: i64) {
        #[allow(clippy::cast_precision_loss)]
        let hour = at_ms as f64 / 3_600_000.0;
        let sessions_per_ms = self.rate / self.clicks_per_session() * busyness(hour) / 1000.0;
        let uniform: f64 = self.random.random();
        self.next_session_ms += -(1.0 - uniform).ln() / sessions_per_ms;
        if self.sessions.len() >= SESSIONS_MAX {
            return;
        }
        let bot = self.random.random_bool(BOT_SHARE);
        let visitor = self.visitor(bot);
        let views_left = if bot { u32::try_from(self.products.len()).unwrap_or(VIEWS_MAX) } else { self.views() };
        let referrer = if bot { "" } else { pick(&mut self.random, &REFERRERS) };
        self.next_id += 1;
        let session = Session { visitor, bot, referrer, step: Step::Arrive, views_left, next_product: 0 };
        self.sessions.insert(self.next_id, session);
        self.due.push(Reverse((at_ms, self.next_id)));
    }

    fn visitor(&mut self, bot: bool) -> Visitor {
        self.next_id += 1;
        if bot {
            let agent = BOTS[self.random.random_range(0..BOTS.len())];
            return Visitor { id: self.next_id, agent };
        }
        if !self.visitors.is_empty() && self.random.random_bool(RETURN_SHARE) {
            let who = self.random.random_range(0..self.visitors.len());
            if let Some(visitor) = self.visitors.swap_remove_back(who) {
                return visitor;
            }
        }
        Visitor { id: self.next_id, agent: pick(&mut self.random, &AGENTS) }
    }

    /// Remembers who has gone, so that they may come back.
    fn remember(&mut self, visitor: Visitor) {
        if self.visitors.len() >= VISITORS_MAX {
            self.visitors.pop_front();
        }
        self.visitors.push_back(visitor);
    }

    fn views(&mut self) -> u32 {
        let mut views = 1;
        while views < VIEWS_MAX && self.random.random_bool(ONE_MORE) {
            views += 1;
        }
        views
    }

    /// What the session does now, and when it acts again.
    fn act(&mut self, at_ms: i64, id: u64) -> Option<Request> {
        let mut session = self.sessions.remove(&id)?;
        let (target, referrer) = match session.step {
            Step::Arrive => {
                session.step = Step::View;
                ("/".to_owned(), session.referrer)
            }
            Step::View => {
                let product = self.choose(&mut session);
                session.views_left -= 1;
                let buys = !session.bot && self.random.random_bool(self.products[product].appeal);
                session.step = if buys { Step::Buy(product) } else { Step::View };
                (self.products[product].target("view", session.visitor.id), "/")
            }
            Step::Buy(product) => {
                session.step = Step::View;
                (self.products[product].target("buy", session.visitor.id), "/")
            }
        };
        let agent = session.visitor.agent;
        let referrer = if session.bot { "" } else { referrer };
        if session.views_left > 0 || matches!(session.step, Step::Buy(_)) {
            let again = at_ms + self.thinking_ms(&session);
            self.due.push(Reverse((again, id)));
            self.sessions.insert(id, session);
        } else if !session.bot {
            self.remember(session.visitor);
        }
        Some(Request { at_ms, target, agent, referrer })
    }

    fn choose(&mut self, session: &mut Session) -> usize {
        if session.bot {
            session.next_product += 1;
            return (session.next_product - 1) % self.products.len();
        }
        let weights: f64 = self.products.iter().map(|product| product.popularity).sum();
        let mut left = self.random.random_range(0.0..weights);
        let found = self.products.iter().position(|product| {
            left -= product.popularity;
            left < 0.0
        });
        found.unwrap_or(0)
    }

    /// How long until the session's next click: seconds for people, more before they pay, moments for programs.
    fn thinking_ms(&mut self, session: &Session) -> i64 {
        let (least, mean) = match session.step {
            _ if session.bot => (100.0, 300.0),
            Step::Buy(_) => (2_000.0, 6_000.0),
            _ => (1_000.0, 4_000.0),
        };
        let uniform: f64 = self.random.random();
        #[allow(clippy::cast_possible_truncation)]
        let ms = (least - (1.0 - uniform).ln() * mean).min(60_000.0) as i64;
        ms
    }
}

/// One of several by weight.
fn pick(random: &mut SmallRng, of: &[(u32, &'static str)]) -> &'static str {
    let weights = of.iter().map(|(weight, _)| weight).sum::<u32>().max(1);
    let mut left = random.next_u32() % weights;
    for (weight, what) in of {
        if left < *weight {
            return what;
        }
        left -= weight;
    }
    ""
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;
    use crate::demo::products::products;

    const START: i64 = 1_763_800_000_000;

    fn minutes(rate: f64, minutes: i64) -> Vec<Request> {
        let mut shoppers = Shoppers::new(7, rate, products(), START);
        let mut requests = Vec::new();
        loop {
            let request = shoppers.next();
            if request.at_ms > START + minutes * 60_000 {
                return requests;
            }
            requests.push(request);
        }
    }

    fn clicks(requests: &[Request]) -> impl Iterator<Item = &Request> {
        requests.iter().filter(|request| request.target.starts_with("/action"))
    }

    #[test]
    fn the_same_seed_gives_the_same_day() {
        assert_eq!(minutes(20.0, 5), minutes(20.0, 5));
    }

    #[test]
    fn requests_come_in_the_order_of_their_time() {
        assert!(minutes(50.0, 10).windows(2).all(|pair| pair[0].at_ms <= pair[1].at_ms));
    }

    #[test]
    fn over_a_day_the_rate_is_what_was_asked_for() {
        let day = minutes(5.0, 24 * 60);
        let per_second = clicks(&day).count() as f64 / 86_400.0;
        assert!((per_second - 5.0).abs() < 0.25, "{per_second}");
    }

    #[test]
    fn people_look_more_than_they_buy_and_programs_buy_nothing() {
        let requests = minutes(100.0, 30);
        let buys: Vec<_> = clicks(&requests).filter(|request| request.target.contains("action=buy")).collect();
        let share = buys.len() as f64 / clicks(&requests).count() as f64;
        assert!((0.03..0.25).contains(&share), "{share}");
        assert!(buys.iter().all(|buy| !BOTS.contains(&buy.agent)));
        assert!(requests.iter().any(|request| BOTS.contains(&request.agent)));
    }

    #[test]
    fn nobody_buys_what_they_did_not_look_at_just_before() {
        let mut looked: HashMap<String, String> = HashMap::new();
        for request in clicks(&minutes(20.0, 30)) {
            let (what, who) = request.target.rsplit_once("&visitor=").expect("every click says whose it is");
            if let Some(bought) = what.strip_prefix("/action?action=buy&") {
                assert_eq!(looked.get(who).map(String::as_str), Some(bought));
            } else if let Some(seen) = what.strip_prefix("/action?action=view&") {
                looked.insert(who.to_owned(), seen.to_owned());
            }
        }
    }

    #[test]
    fn some_come_back() {
        let requests = minutes(20.0, 60);
        let arrivals = requests.iter().filter(|request| request.target == "/").count();
        let visitors: HashSet<_> =
            clicks(&requests).filter_map(|click| Some(click.target.rsplit_once('=')?.1)).collect();
        assert!(visitors.len() < arrivals * 8 / 10, "{} visitors in {arrivals} sessions", visitors.len());
    }
}
