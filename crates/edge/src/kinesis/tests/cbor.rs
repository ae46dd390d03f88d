//! A CBOR writer and reader of the tests' own, as far as the protocol needs one (RFC 8949), so that ours is not judged by
//! itself.

pub(super) const CONTENT_TYPE: &str = "application/x-amz-cbor-1.1";

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cbor {
    Null,
    Bool(bool),
    Number(i64),
    Text(String),
    Bytes(Vec<u8>),
    /// Tag 1 around milliseconds.
    Time(i64),
    List(Vec<Cbor>),
    Map(Vec<(String, Cbor)>),
}

impl Cbor {
    pub(super) fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    pub(super) fn map<const N: usize>(members: [(&str, Self); N]) -> Self {
        Self::Map(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    pub(super) fn at(&self, name: &str) -> &Self {
        let Self::Map(members) = self else { panic!("{self:?} is no map") };
        &members.iter().find(|(found, _)| found == name).unwrap_or_else(|| panic!("no {name} in {self:?}")).1
    }

    pub(super) fn item(&self, index: usize) -> &Self {
        let Self::List(items) = self else { panic!("{self:?} is no list") };
        &items[index]
    }

    pub(super) fn write(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write_to(&mut bytes);
        bytes
    }

    fn write_to(&self, into: &mut Vec<u8>) {
        let head = |into: &mut Vec<u8>, major: u8, number: u64| match number {
            0..24 => into.push(major << 5 | number as u8),
            24..256 => into.extend([major << 5 | 24, number as u8]),
            _ => {
                into.push(major << 5 | 27);
                into.extend(number.to_be_bytes());
            }
        };
        match self {
            Self::Null => into.push(0xf6),
            Self::Bool(value) => into.push(0xf4 + u8::from(*value)),
            Self::Number(number) if *number < 0 => head(into, 1, (-1 - number) as u64),
            Self::Number(number) => head(into, 0, *number as u64),
            Self::Text(text) => {
                head(into, 3, text.len() as u64);
                into.extend(text.as_bytes());
            }
            Self::Bytes(bytes) => {
                head(into, 2, bytes.len() as u64);
                into.extend(bytes);
            }
            Self::Time(ms) => {
                into.push(0xc1);
                Self::Number(*ms).write_to(into);
            }
            Self::List(items) => {
                head(into, 4, items.len() as u64);
                items.iter().for_each(|item| item.write_to(into));
            }
            // Java clients write maps of open length.
            Self::Map(members) => {
                into.push(0xbf);
                for (name, value) in members {
                    Self::text(name).write_to(into);
                    value.write_to(into);
                }
                into.push(0xff);
            }
        }
    }

    pub(super) fn read(bytes: &[u8]) -> Self {
        let mut rest = bytes;
        let read = Self::take(&mut rest).expect("a value");
        assert!(rest.is_empty(), "{} bytes too many", rest.len());
        read
    }

    /// `None`: the end of something of open length.
    fn take(from: &mut &[u8]) -> Option<Self> {
        let (first, rest) = from.split_first().expect("a byte");
        *from = rest;
        let (major, small) = (first >> 5, first & 31);
        let open = small == 31;
        let mut number = |width: usize| {
            let (bytes, rest) = from.split_at(width);
            *from = rest;
            bytes.iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte))
        };
        let argument = match small {
            24 => number(1),
            25 => number(2),
            26 => number(4),
            27 => number(8),
            _ => u64::from(small),
        };
        let mut bytes = || {
            let (bytes, rest) = from.split_at(argument as usize);
            *from = rest;
            bytes.to_vec()
        };
        Some(match major {
            0 => Self::Number(argument as i64),
            1 => Self::Number(-1 - argument as i64),
            2 => Self::Bytes(bytes()),
            3 => Self::Text(String::from_utf8(bytes()).expect("text")),
            4 => {
                let mut items = Vec::new();
                while open || items.len() < argument as usize {
                    let Some(item) = Self::take(from) else { break };
                    items.push(item);
                }
                Self::List(items)
            }
            5 => {
                let mut members = Vec::new();
                while open || members.len() < argument as usize {
                    let Some(name) = Self::take(from) else { break };
                    let Self::Text(name) = name else { panic!("{name:?} names nothing") };
                    members.push((name, Self::take(from).expect("a value")));
                }
                Self::Map(members)
            }
            6 => match Self::take(from).expect("a tagged value") {
                Self::Number(ms) if argument == 1 => Self::Time(ms),
                other => panic!("tag {argument} around {other:?}"),
            },
            _ => match small {
                20 | 21 => Self::Bool(small == 21),
                22 => Self::Null,
                31 => return None,
                _ => panic!("an unexpected value {first:#x}"),
            },
        })
    }
}
