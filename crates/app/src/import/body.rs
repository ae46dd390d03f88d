//! Cutting input at line ends into bodies of a request.

use std::io::{self, Read};

use bytes::Bytes;

/// Some whole lines of one file, ready to be sent.
#[derive(Debug)]
pub(crate) struct Body {
    /// The name of the file.
    pub(crate) file: String,
    /// The number of its first line in the file, from 1.
    first_line: u64,
    /// The lines.
    pub(crate) bytes: Bytes,
}

impl Body {
    /// The number in the file of the record with that index. The collector numbers records, and skips blank lines.
    pub(crate) fn line_of(&self, index: u64) -> u64 {
        let before = &self.bytes[..self.begin_of(index)];
        self.first_line + before.iter().filter(|byte| **byte == b'\n').count() as u64
    }

    /// The body from the record with that index on.
    pub(crate) fn rest_from(&self, index: u64) -> Self {
        let begin = self.begin_of(index);
        Self { file: self.file.clone(), first_line: self.line_of(index), bytes: self.bytes.slice(begin..) }
    }

    /// The byte where the record with that index begins; the end if there is none.
    fn begin_of(&self, index: u64) -> usize {
        let mut at = 0;
        let mut records = 0;
        for line in self.bytes.split_inclusive(|byte| *byte == b'\n') {
            if !line.trim_ascii().is_empty() {
                if records == index {
                    return at;
                }
                records += 1;
            }
            at += line.len();
        }
        at
    }
}

/// The bodies of one input.
pub(crate) struct Bodies<R> {
    file: String,
    input: R,
    size: usize,
    /// Read, and not yet given away: the begun line at the end of the last read.
    rest: Vec<u8>,
    line: u64,
    ended: bool,
    csv: Option<Csv>,
}

/// Turns rows into JSON objects by the header line.
#[derive(Default)]
struct Csv {
    names: Vec<String>,
}

impl<R: Read> Bodies<R> {
    /// Bodies of about `size` bytes; with `csv`, rows become JSON objects named by the header line.
    pub(crate) fn new(file: String, input: R, size: usize, csv: bool) -> Self {
        Self { file, input, size, rest: Vec::new(), line: 1, ended: false, csv: csv.then(Csv::default) }
    }

    /// The next body; `None` at the end of the input.
    pub(crate) fn next(&mut self) -> io::Result<Option<Body>> {
        loop {
            self.fill()?;
            if self.rest.is_empty() {
                return Ok(None);
            }
            let quoted = self.csv.is_some();
            let Some(cut) = cut(&self.rest, self.ended, quoted) else {
                self.size *= 2; // one line longer than a body: the server says whether it is too long
                continue;
            };
            let rest = self.rest.split_off(cut);
            let taken = std::mem::replace(&mut self.rest, rest);
            let first_line = self.line;
            self.line += taken.iter().filter(|byte| **byte == b'\n').count() as u64;
            let bytes = match &mut self.csv {
                Some(csv) => csv.objects(&taken)?,
                None => taken,
            };
            if !bytes.is_empty() {
                return Ok(Some(Body { file: self.file.clone(), first_line, bytes: bytes.into() }));
            }
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        while !self.ended && self.rest.len() < self.size {
            let have = self.rest.len();
            self.rest.resize(self.size, 0);
            let read = self.input.read(&mut self.rest[have..]);
            self.rest.truncate(have + read.as_ref().copied().unwrap_or(0));
            match read {
                Ok(0) => self.ended = true,
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Where to cut: after the last line end (that is not inside quotes), or at the very end of the input.
fn cut(bytes: &[u8], ended: bool, quoted: bool) -> Option<usize> {
    if ended {
        return Some(bytes.len());
    }
    if !quoted {
        return bytes.iter().rposition(|byte| *byte == b'\n').map(|at| at + 1);
    }
    let mut inside = false;
    let mut last = None;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'"' => inside = !inside,
            b'\n' if !inside => last = Some(at + 1),
            _ => {}
        }
    }
    last
}

impl Csv {
    fn objects(&mut self, rows: &[u8]) -> io::Result<Vec<u8>> {
        let mut objects = Vec::with_capacity(rows.len() * 2);
        let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(rows);
        for row in reader.records() {
            let row = row.map_err(io::Error::other)?;
            if self.names.is_empty() {
                self.names = row.iter().map(|name| name.trim_start_matches('\u{feff}').trim().to_owned()).collect();
                continue;
            }
            for (index, text) in row.iter().enumerate() {
                objects.push(if index == 0 { b'{' } else { b',' });
                match self.names.get(index) {
                    Some(name) => serde_json::to_writer(&mut objects, name)?,
                    None => serde_json::to_writer(&mut objects, &format!("column_{}", index + 1))?,
                }
                objects.push(b':');
                match text {
                    "" => objects.extend_from_slice(b"null"),
                    text if is_plain(text) => objects.extend_from_slice(text.as_bytes()),
                    text => serde_json::to_writer(&mut objects, text)?,
                }
            }
            objects.extend_from_slice(b"}\n");
        }
        Ok(objects)
    }
}

/// Whether a field is a number, `true` or `false` as JSON writes them. It goes out exactly as it stands there, so a column
/// declared as text gets the same characters as with quotes (`1.50` stays `1.50`).
fn is_plain(text: &str) -> bool {
    let begins = |c: char| c == '-' || c.is_ascii_digit();
    matches!(text, "true" | "false")
        || (text.starts_with(begins)
            && serde_json::from_str::<&serde_json::value::RawValue>(text)
                .is_ok_and(|raw| raw.get().len() == text.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(input: &[u8], size: usize, csv: bool) -> Vec<Body> {
        let mut bodies = Bodies::new("f".into(), input, size, csv);
        std::iter::from_fn(|| bodies.next().expect("memory can be read")).collect()
    }

    proptest! {
        #[test]
        fn bodies_are_the_input_cut_at_line_ends_only(
            lines in proptest::collection::vec("[a-z]{0,30}", 0..60), size in 1usize..200, last_newline: bool,
        ) {
            let mut input = lines.join("\n");
            if last_newline { input.push('\n'); }
            let bodies = all(input.as_bytes(), size, false);
            let together: Vec<u8> = bodies.iter().flat_map(|body| body.bytes.to_vec()).collect();
            prop_assert_eq!(together, input.as_bytes());
            for body in bodies.iter().rev().skip(1) {
                prop_assert_eq!(body.bytes.last(), Some(&b'\n'));
            }
            let mut line = 1;
            for body in &bodies {
                prop_assert_eq!(body.first_line, line);
                line += body.bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
            }
        }
    }

    #[test]
    fn a_rejected_record_is_told_by_its_line_in_the_file_blank_lines_counted() {
        let bodies = all(b"a\n\nb\nc\n", 100, false);
        assert_eq!(bodies[0].line_of(0), 1);
        assert_eq!(bodies[0].line_of(1), 3);
        assert_eq!(bodies[0].line_of(2), 4);
        let rest = bodies[0].rest_from(1);
        assert_eq!((&rest.bytes[..], rest.line_of(0), rest.line_of(1)), (&b"b\nc\n"[..], 3, 4));
        assert!(bodies[0].rest_from(9).bytes.is_empty());
    }

    #[test]
    fn csv_rows_become_objects_and_quoted_line_ends_stay_in_their_field() {
        let input = b"\xef\xbb\xbfid,name\n1.50,\"two\nlines, and \"\"quotes\"\"\"\n007,\n";
        for size in [8, 1000] {
            let text: Vec<u8> = all(input, size, true).iter().flat_map(|body| body.bytes.to_vec()).collect();
            let expected =
                "{\"id\":1.50,\"name\":\"two\\nlines, and \\\"quotes\\\"\"}\n{\"id\":\"007\",\"name\":null}\n";
            assert_eq!(String::from_utf8_lossy(&text), expected, "bodies of {size}");
        }
    }
}
