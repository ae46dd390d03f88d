//! The service's validation: every constraint of the published model, told in its own words, up to ten at once.
//!
//! The texts are those that the service was recorded to answer (kinesalite's tests); the limits are those of the current
//! model.

use super::fault::Fault;
use super::wire::Blob;

/// Errors told at once.
const ERRORS_MAX: usize = 10;

/// Bytes of a value that are told back: room for a thousand records of a list. The service tells all of it, but a body of
/// 16 MiB is not to come back ten times.
const SHOWN_BYTES_MAX: usize = 64 * 1024;

/// Collects what is wrong with an input.
#[derive(Debug, Default)]
pub(crate) struct Constraints {
    errors: Vec<String>,
}

/// What a text must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// Names of streams, shards and consumers.
    Name,
    /// A number below 10^39.
    HashKey,
    /// A number of at most 129 digits.
    Sequence,
    /// The ARN of a stream.
    StreamArn,
    /// The ARN of a consumer.
    ConsumerArn,
    /// The ARN of anything that can be tagged.
    ResourceArn,
}

impl Pattern {
    const fn text(self) -> &'static str {
        match self {
            Self::Name => "[a-zA-Z0-9_.-]+",
            Self::HashKey => "0|([1-9]\\d{0,38})",
            Self::Sequence => "0|([1-9]\\d{0,128})",
            Self::StreamArn => "arn:aws.*:kinesis:.*:\\d{12}:stream/\\S+",
            Self::ConsumerArn => {
                "^(arn):aws.*:kinesis:.*:\\d{12}:.*stream\\/[a-zA-Z0-9_.-]+\\/consumer\\/[a-zA-Z0-9_.-]+:[0-9]+"
            }
            Self::ResourceArn => "arn:aws.*:kinesis:.*:\\d{12}:.*(stream|channel|queue)/\\S+",
        }
    }

    fn matches(self, text: &str) -> bool {
        match self {
            Self::Name => is_name(text),
            Self::HashKey => is_number(text, 39),
            Self::Sequence => is_number(text, 129),
            Self::StreamArn => arn_tail(text).is_some_and(|tail| is_path(tail, &["stream/"])),
            Self::ConsumerArn => arn_tail(text).is_some_and(|tail| {
                let rest = tail.split_once("stream/").and_then(|(_, rest)| rest.split_once("/consumer/"));
                let named = rest.and_then(|(stream, rest)| Some((stream, rest.rsplit_once(':')?)));
                named.is_some_and(|(stream, (consumer, created))| {
                    is_name(stream)
                        && is_name(consumer)
                        && !created.is_empty()
                        && created.bytes().all(|b| b.is_ascii_digit())
                })
            }),
            Self::ResourceArn => arn_tail(text).is_some_and(|tail| is_path(tail, &["stream/", "channel/", "queue/"])),
        }
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

fn is_number(text: &str, digits: usize) -> bool {
    let fits = (1..=digits).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    fits && (text == "0" || !text.starts_with('0'))
}

/// What follows `arn:aws…:kinesis:REGION:ACCOUNT:`.
fn arn_tail(text: &str) -> Option<&str> {
    let mut parts = text.splitn(6, ':');
    let (arn, partition, service) = (parts.next()?, parts.next()?, parts.next()?);
    let (_region, account, tail) = (parts.next()?, parts.next()?, parts.next()?);
    let digits = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
    (arn == "arn" && partition.starts_with("aws") && service == "kinesis" && digits).then_some(tail)
}

fn is_path(tail: &str, kinds: &[&str]) -> bool {
    let rest = kinds.iter().find_map(|kind| tail.strip_prefix(kind));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(char::is_whitespace))
}

/// The length of a text as the service counts it.
fn length(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.encode_utf16().count() }
}

impl Constraints {
    /// Notes that `value` at `at` breaks the constraint `must`.
    pub(crate) fn broken(&mut self, value: &str, at: &str, must: &str) {
        if self.errors.len() < ERRORS_MAX {
            let value = &value[..value.floor_char_boundary(SHOWN_BYTES_MAX)];
            self.errors.push(format!("Value '{value}' at '{at}' failed to satisfy constraint: Member must {must}"));
        }
    }

    /// Likewise of the keys or values of a map.
    pub(crate) fn broken_map(&mut self, value: &str, at: &str, part: &str, must: &str) {
        if self.errors.len() < ERRORS_MAX {
            let value = &value[..value.floor_char_boundary(SHOWN_BYTES_MAX)];
            self.errors.push(format!("Value '{value}' at '{at}' failed to satisfy constraint: Map {part} must {must}"));
        }
    }

    /// Notes that a member is missing.
    pub(crate) fn missing(&mut self, at: &str) {
        if self.errors.len() < ERRORS_MAX {
            self.errors.push(format!("Value null at '{at}' failed to satisfy constraint: Member must not be null"));
        }
    }

    /// A member that must be there.
    pub(crate) fn required<T>(&mut self, at: &str, member: Option<&T>) {
        if member.is_none() {
            self.missing(at);
        }
    }

    /// A text of `least` to `most` characters that looks like `pattern`.
    pub(crate) fn text(
        &mut self,
        at: &str,
        member: Option<&String>,
        pattern: Option<Pattern>,
        least: usize,
        most: usize,
    ) {
        let Some(text) = member else { return };
        if let Some(pattern) = pattern
            && !pattern.matches(text)
        {
            self.broken(text, at, &format!("satisfy regular expression pattern: {}", pattern.text()));
        }
        self.length_of(text, length(text), at, least, most);
    }

    /// The name of a stream, shard or consumer.
    pub(crate) fn name(&mut self, at: &str, member: Option<&String>) {
        self.text(at, member, Some(Pattern::Name), 1, 128);
    }

    /// A text that only has a pattern.
    pub(crate) fn pattern(&mut self, at: &str, member: Option<&String>, pattern: Pattern) {
        self.text(at, member, Some(pattern), 0, usize::MAX);
    }

    /// An ARN.
    pub(crate) fn arn(&mut self, at: &str, member: Option<&String>, pattern: Pattern) {
        self.text(at, member, Some(pattern), 1, 2048);
    }

    /// One of a set of words.
    pub(crate) fn one_of(&mut self, at: &str, member: Option<&String>, words: &[&str]) {
        if let Some(text) = member
            && !words.contains(&text.as_str())
        {
            self.broken(text, at, &format!("satisfy enum value set: [{}]", words.join(", ")));
        }
    }

    /// A number from `least` to `most`.
    pub(crate) fn number(&mut self, at: &str, member: Option<i32>, least: i32, most: i32) {
        let Some(number) = member else { return };
        if number < least {
            self.broken(&number.to_string(), at, &format!("have value greater than or equal to {least}"));
        }
        if number > most {
            self.broken(&number.to_string(), at, &format!("have value less than or equal to {most}"));
        }
    }

    /// Something of `found` parts, where `least` to `most` are allowed.
    pub(crate) fn length_of(&mut self, shown: &str, found: usize, at: &str, least: usize, most: usize) {
        if found < least {
            self.broken(shown, at, &format!("have length greater than or equal to {least}"));
        }
        if found > most {
            self.broken(shown, at, &format!("have length less than or equal to {most}"));
        }
    }

    /// A payload of at most `most` bytes, together with `more` bytes beside it.
    pub(crate) fn blob(&mut self, at: &str, member: Option<&Blob>, more: usize, most: usize) {
        let Some(blob) = member else { return };
        if blob.len() + more > most {
            let length = blob.len();
            let shown = format!("java.nio.HeapByteBuffer[pos=0 lim={length} cap={length}]");
            self.broken(&shown, at, &format!("have length less than or equal to {most}"));
        }
    }

    /// Whether nothing is wrong so far.
    pub(crate) fn is_kept(&self) -> bool {
        self.errors.is_empty()
    }

    /// All that is wrong as one error.
    pub(crate) fn kept(self) -> Result<(), Fault> {
        match self.errors.len() {
            0 => Ok(()),
            1 => Err(Fault::validation(format!("1 validation error detected: {}", self.errors[0]))),
            many => Err(Fault::validation(format!("{many} validation errors detected: {}", self.errors.join("; ")))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_told_in_the_words_of_the_service() {
        let mut constraints = Constraints::default();
        constraints.number("limit", Some(0), 1, 10_000);
        constraints.name("streamName", Some(&String::new()));
        constraints.required::<String>("shardId", None);
        assert_eq!(
            constraints.kept().expect_err("four").to_string(),
            "ValidationException: 4 validation errors detected: Value '0' at 'limit' failed to satisfy constraint: Member \
             must have value greater than or equal to 1; Value '' at 'streamName' failed to satisfy constraint: Member must \
             satisfy regular expression pattern: [a-zA-Z0-9_.-]+; Value '' at 'streamName' failed to satisfy constraint: \
             Member must have length greater than or equal to 1; Value null at 'shardId' failed to satisfy constraint: \
             Member must not be null"
        );
    }

    #[test]
    fn patterns_are_those_of_the_model() {
        let stream = "arn:aws:kinesis:eu-west-1:000000000000:stream/clicks";
        assert!(Pattern::StreamArn.matches(stream) && Pattern::ResourceArn.matches(stream));
        assert!(Pattern::StreamArn.matches("arn:aws-cn:kinesis::123456789012:stream/a"));
        for wrong in ["clicks", "arn:aws:kinesis:x:1:stream/a", "arn:aws:s3:x:000000000000:stream/a"] {
            assert!(!Pattern::StreamArn.matches(wrong), "{wrong}");
        }
        assert!(Pattern::ConsumerArn.matches(&format!("{stream}/consumer/app:1600000000")));
        assert!(!Pattern::ConsumerArn.matches(&format!("{stream}/consumer/app")));
        assert!(Pattern::HashKey.matches("0") && Pattern::HashKey.matches("340282366920938463463374607431768211456"));
        for wrong in ["", "01", "-1", "1e3", "1000000000000000000000000000000000000000"] {
            assert!(!Pattern::HashKey.matches(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_value_of_megabytes_is_not_told_back_whole() {
        let mut constraints = Constraints::default();
        constraints.name("streamName", Some(&"\u{fc}".repeat(5_000_000)));
        let told = constraints.kept().expect_err("two").to_string();
        assert!(told.len() < 2 * SHOWN_BYTES_MAX + 1000 && told.contains("2 validation errors"), "{}", told.len());
    }

    #[test]
    fn ten_errors_are_enough() {
        let mut constraints = Constraints::default();
        (0..500).for_each(|_| constraints.missing("x"));
        assert!(constraints.kept().expect_err("many").to_string().contains("10 validation errors"));
    }
}
