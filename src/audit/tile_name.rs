//! How C2SP tlog-tiles names its files: `<L>/<N>[.p/<W>]` for hashes, `entries/<N>[.p/<W>]` for entries. The number stands in groups of
//! three digits, all but the last behind an `x`; the width of a tile only if it is not full.

use std::fmt;

use super::roots::TILE_WIDTH;

/// A tile. Each has one name only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TileName {
    /// `None`: the entries.
    pub level: Option<u32>,
    pub number: u64,
    /// 256 when it is full.
    pub width: u64,
}

impl TileName {
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let (level, rest) = path.split_once('/')?;
        let level = if level == "entries" { None } else { Some(plain(level)?).filter(|level| *level < 64).map(Some)? };
        let (number, width) = match rest.split_once(".p/") {
            Some((number, width)) => (number, u64::from(plain(width)?)),
            None => (rest, TILE_WIDTH),
        };
        let digits: String = number.split('/').map(|group| group.trim_start_matches('x')).collect();
        let name = Self { level, number: digits.parse().ok()?, width };
        ((1..=TILE_WIDTH).contains(&width) && name.to_string() == path).then_some(name)
    }
}

impl fmt::Display for TileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.level {
            Some(level) => write!(f, "{level}")?,
            None => f.write_str("entries")?,
        }
        let mut groups = vec![format!("/{:03}", self.number % 1_000)];
        let mut rest = self.number / 1_000;
        while rest > 0 {
            groups.push(format!("/x{:03}", rest % 1_000));
            rest /= 1_000;
        }
        groups.iter().rev().try_for_each(|group| f.write_str(group))?;
        if self.width < TILE_WIDTH { write!(f, ".p/{}", self.width) } else { Ok(()) }
    }
}

/// A decimal number without needless zeros.
fn plain(text: &str) -> Option<u32> {
    text.parse().ok().filter(|number: &u32| number.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_are_named_in_one_way_only() {
        let tile = |level, number, width| Some(TileName { level, number, width });
        for (path, expected) in [
            ("0/000", tile(Some(0), 0, 256)),
            ("63/999", tile(Some(63), 999, 256)),
            ("1/x001/x234/067", tile(Some(1), 1_234_067, 256)),
            ("entries/x001/000.p/7", tile(None, 1_000, 7)),
            ("2/005.p/255", tile(Some(2), 5, 255)),
        ] {
            assert_eq!(TileName::parse(path), expected, "{path}");
        }
        for bad in [
            "",
            "0",
            "0/",
            "0/0",
            "0/0000",
            "0/01",
            "64/000",
            "00/000",
            "-1/000",
            "0/x000/001",
            "0/001/002",
            "0/x001",
            "0/x001/",
            "0/001.p/0",
            "0/001.p/256",
            "0/001.p/01",
            "0/001.p/",
            "0/001.p",
            "0/+01",
            "Entries/000",
            "entries/000/",
            "0/x1/000",
        ] {
            assert_eq!(TileName::parse(bad), None, "{bad}");
        }
    }
}
