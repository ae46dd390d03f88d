//! The published escaping of log values: ASCII 0 to 32, 127 and above, and `< > " # % { } | \ ^ ~ [ ] ` '` become `%XX`.
//! Because `%` itself is escaped, decoding a value once gives back exactly what the browser sent.

/// Which bytes are escaped.
const ESCAPED: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = byte <= 32
            || byte >= 127
            || matches!(
                byte as u8,
                b'<' | b'>'
                    | b'"'
                    | b'#'
                    | b'%'
                    | b'{'
                    | b'}'
                    | b'|'
                    | b'\\'
                    | b'^'
                    | b'~'
                    | b'['
                    | b']'
                    | b'`'
                    | b'\''
            );
        byte += 1;
    }
    table
};

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Appends `value`, escaped; `-` if it is empty.
pub(crate) fn push_value(line: &mut Vec<u8>, value: &[u8]) {
    if value.is_empty() {
        line.push(b'-');
    } else {
        push_part(line, value);
    }
}

/// Appends `value`, escaped; nothing if it is empty.
pub(crate) fn push_part(line: &mut Vec<u8>, value: &[u8]) {
    let mut rest = value;
    while let Some(at) = rest.iter().position(|byte| ESCAPED[*byte as usize]) {
        line.extend_from_slice(&rest[..at]);
        let byte = rest[at];
        line.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        rest = &rest[at + 1..];
    }
    line.extend_from_slice(rest);
}

/// Appends a whole number.
pub(crate) fn push_number(line: &mut Vec<u8>, number: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    line.extend_from_slice(&digits[at..]);
}

/// Appends thousandths as a number with three decimals: `1234` is `1.234`.
pub(crate) fn push_thousandths(line: &mut Vec<u8>, thousandths: u64) {
    push_number(line, thousandths / 1000);
    let rest = (thousandths % 1000) as u16;
    line.extend_from_slice(&[b'.', b'0' + (rest / 100) as u8, b'0' + (rest / 10 % 10) as u8, b'0' + (rest % 10) as u8]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn escaped(value: &[u8]) -> String {
        let mut line = Vec::new();
        push_value(&mut line, value);
        String::from_utf8(line).expect("ASCII")
    }

    #[test]
    fn values_are_escaped_as_published() {
        assert_eq!(escaped(b""), "-");
        assert_eq!(escaped(b"Mozilla/5.0 (X11)"), "Mozilla/5.0%20(X11)");
        assert_eq!(escaped(b"a%20b"), "a%2520b");
        assert_eq!(escaped("caf\u{e9}\t'x'".as_bytes()), "caf%C3%A9%09%27x%27");
        assert_eq!(escaped(b"<>\"#%{}|\\^~[]`\x7f"), "%3C%3E%22%23%25%7B%7D%7C%5C%5E%7E%5B%5D%60%7F");
        assert_eq!(escaped(b"a&b=c;d?e:f@g!$()*+,/_.-"), "a&b=c;d?e:f@g!$()*+,/_.-");
    }

    #[test]
    fn numbers_are_written_in_decimal() {
        let mut line = Vec::new();
        for number in [0, 7, 10, u64::MAX] {
            push_number(&mut line, number);
            line.push(b' ');
        }
        push_thousandths(&mut line, 1_606_855_678_023);
        assert_eq!(String::from_utf8_lossy(&line), format!("0 7 10 {} 1606855678.023", u64::MAX));
    }

    proptest! {
        #[test]
        fn decoding_once_gives_back_what_was_sent(value in proptest::collection::vec(any::<u8>(), 1..64)) {
            let text = escaped(&value);
            prop_assert!(text.bytes().all(|byte| (33..127).contains(&byte)));
            let decoded: Vec<u8> = percent_encoding::percent_decode_str(&text).collect();
            prop_assert_eq!(decoded, value);
        }
    }
}
