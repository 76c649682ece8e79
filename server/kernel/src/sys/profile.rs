//! A profile as `go tool pprof` and its like read it: the protocol buffer `perftools.profiles.Profile`, which needs no
//! compression, or text.

use std::fmt::Write as _;
use std::time::Duration;

use kit::Time;

/// Amounts of something, each with where it belongs.
pub(super) struct Profile {
    /// What is counted, and in what.
    pub(super) measures: &'static [[&'static str; 2]],
    pub(super) rows: Vec<Row>,
    /// When it was taken.
    pub(super) at: Time,
    /// What time it is about. Zero: that moment.
    pub(super) span: Duration,
    /// How long one sample stands for, where there are samples.
    pub(super) period: Duration,
}

/// One amount.
pub(super) struct Row {
    /// From the innermost out.
    pub(super) frames: Vec<String>,
    /// One for each measure.
    pub(super) values: Vec<u64>,
}

impl Profile {
    /// For people.
    pub(super) fn text(&self, name: &str) -> String {
        let mut text = format!("{name} profile:");
        for ([kind, unit], column) in self.measures.iter().zip(0..) {
            let all = self.rows.iter().filter_map(|row| row.values.get::<usize>(column));
            // Writing to a String does not fail.
            let _ = write!(text, " {} {kind}/{unit}", all.sum::<u64>());
        }
        text.push('\n');
        for row in &self.rows {
            let values: Vec<String> = row.values.iter().map(u64::to_string).collect();
            let frames: Vec<&str> = row.frames.iter().rev().map(String::as_str).collect();
            let _ = writeln!(text, "{} @ {}", values.join(" "), frames.join("; "));
        }
        text
    }

    /// For programs.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut names = vec![String::new()];
        let mut wire = Wire::default();
        for [kind, unit] in self.measures {
            wire.message(1, &measure(&mut names, kind, unit));
        }
        // A place is the function of its name, and both have the number of the name: there is nothing else to tell.
        let mut places = Vec::new();
        for row in &self.rows {
            let mut sample = Wire::default();
            for frame in &row.frames {
                let place = number(&mut names, frame);
                sample.number(1, place);
                if !places.contains(&place) {
                    places.push(place);
                }
            }
            row.values.iter().for_each(|value| sample.number(2, *value));
            wire.message(2, &sample);
        }
        for place in &places {
            let line = Wire::of(&[(1, *place)]);
            let mut location = Wire::of(&[(1, *place)]);
            location.message(4, &line);
            wire.message(4, &location);
            wire.message(5, &Wire::of(&[(1, *place), (2, *place)]));
        }
        let period = measure(&mut names, "cpu", "nanoseconds");
        names.iter().for_each(|name| wire.bytes(6, name.as_bytes()));
        wire.number(9, self.at.0);
        wire.number(10, nanos(self.span));
        if !self.period.is_zero() {
            wire.message(11, &period);
            wire.number(12, nanos(self.period));
        }
        wire.0
    }
}

pub(super) fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

fn measure(names: &mut Vec<String>, kind: &str, unit: &str) -> Wire {
    Wire::of(&[(1, number(names, kind)), (2, number(names, unit))])
}

/// The number of a name in the table of names, where it is put if it is new.
fn number(names: &mut Vec<String>, name: &str) -> u64 {
    let known = names.iter().position(|known| known == name);
    let at = known.unwrap_or_else(|| {
        names.push(name.to_owned());
        names.len() - 1
    });
    at as u64
}

/// A message of protocol buffers as it is written.
#[derive(Default)]
struct Wire(Vec<u8>);

impl Wire {
    fn of(numbers: &[(u8, u64)]) -> Self {
        let mut wire = Self::default();
        numbers.iter().for_each(|(field, value)| wire.number(*field, *value));
        wire
    }

    fn number(&mut self, field: u8, value: u64) {
        self.0.push(field << 3);
        self.varint(value);
    }

    fn bytes(&mut self, field: u8, bytes: &[u8]) {
        self.0.push(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn message(&mut self, field: u8, message: &Self) {
        self.bytes(field, &message.0);
    }

    /// Seven bits in a byte, the lowest first; all but the last have the eighth.
    fn varint(&mut self, mut value: u64) {
        while value > 0x7f {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile() -> Profile {
        let row = |frame: &str, value| Row {
            frames: vec![frame.to_owned(), "all".to_owned()],
            values: vec![value],
        };
        Profile {
            measures: &[["space", "bytes"]],
            rows: vec![row("a", 300), row("b", 1)],
            at: Time(5),
            span: Duration::ZERO,
            period: Duration::ZERO,
        }
    }

    #[test]
    fn people_read_it_from_the_outside_in() {
        assert_eq!(profile().text("heap"), "heap profile: 301 space/bytes\n300 @ all; a\n1 @ all; b\n");
    }

    #[test]
    fn programs_read_it_byte_by_byte() {
        // Written down by hand from profile.proto.
        let expected = [
            &[0x0a, 4, 8, 1, 16, 2][..],                           // sample_type: space, bytes
            &[0x12, 7, 8, 3, 8, 4, 16, 0xac, 2],                   // a sample at a in all, 300
            &[0x12, 6, 8, 5, 8, 4, 16, 1],                         // another at b in all, 1
            &[0x22, 6, 8, 3, 0x22, 2, 8, 3, 0x2a, 4, 8, 3, 16, 3], // place and function 3: a
            &[0x22, 6, 8, 4, 0x22, 2, 8, 4, 0x2a, 4, 8, 4, 16, 4],
            &[0x22, 6, 8, 5, 0x22, 2, 8, 5, 0x2a, 4, 8, 5, 16, 5],
            b"\x32\0\x32\x05space\x32\x05bytes\x32\x01a\x32\x03all\x32\x01b\x32\x03cpu\x32\x0bnanoseconds",
            &[9 << 3, 5, 10 << 3, 0], // time, duration
        ]
        .concat();
        assert_eq!(profile().encode(), expected);
    }
}
