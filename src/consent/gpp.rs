//! Opt-outs out of a string of the IAB's Global Privacy Platform
//! (<https://github.com/InteractiveAdvertisingBureau/Global-Privacy-Platform>, string version 1). Such a string is what a browser or
//! app was told by the person; it can only close. That somebody did *not* opt out is no grant, and is not read as one.
//!
//! ```text
//! string    header ~ section ~ section …             six bits a character, alphabet of RFC 4648, URL-safe or not
//! header    type(6) = 3, version(6) = 1, ids          ids: count(12), each: is-range(1), Fibonacci offset to the id before, if a range its length
//! section   core . sub-section . …                    padded with zeros on the right
//! core      version(6), then members of two bits      0 not applicable, 1 opted out or no consent, 2 not opted out or consent
//! sub-section  type(2) = 1, Gpc(1)
//! ```
//!
//! Read are `usnat` (versions 1 and 2), `usca`, `usva`, `usco`, `usut`, `usct` and the older `uspv1`. What else a string holds is named,
//! never guessed; a string that two parsers could read differently is refused as a whole.

use std::collections::BTreeMap;

use aws_lc_rs::digest;

use super::event::StopKind;

/// What a string says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GppOptOuts {
    /// The stops that follow, each with the members that say so, e.g. `usca.SaleOptOut`.
    pub stops: BTreeMap<StopKind, Vec<String>>,
    /// Sections that were read.
    pub read: Vec<&'static str>,
    /// What was not read, and why.
    pub unread: Vec<GppUnread>,
}

/// A part of a string from which nothing follows here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GppUnread {
    /// The section's name, or its number where it has none that is known.
    pub part: String,
    pub why: &'static str,
}

impl GppOptOuts {
    /// # Errors
    /// What is wrong with the string, without repeating any of it.
    pub fn read(text: &str) -> Result<Self, &'static str> {
        if text.len() > GPP_BYTES_MAX {
            return Err("`gpp` is longer than 16 KiB");
        }
        let mut parts = text.split('~');
        let ids = header(parts.next().unwrap_or_default(), text.split('~').count() - 1)?;
        let mut found = Self::default();
        for (id, section) in ids.into_iter().zip(parts) {
            found.section(id, section)?;
        }
        Ok(found)
    }

    /// As it stands in the evidence: itself, or by its hash where it is too long for that.
    #[must_use]
    pub fn proof(text: &str) -> String {
        if text.len() <= PROOF_BYTES_MAX {
            return text.to_owned();
        }
        let hash = digest::digest(&digest::SHA256, text.as_bytes());
        hash.as_ref().iter().fold("sha256:".to_owned(), |hex, byte| format!("{hex}{byte:02x}"))
    }

    fn section(&mut self, id: u32, text: &str) -> Result<(), &'static str> {
        if id == USPV1 {
            return self.us_privacy(text);
        }
        let Some(layout) = LAYOUTS.iter().find(|layout| layout.id == id) else {
            let known = NAMES.iter().find(|(known, ..)| *known == id);
            let part = known.map_or_else(|| id.to_string(), |(_, name, _)| (*name).to_owned());
            self.unread.push(GppUnread { part, why: known.map_or("the section is not known", |(.., why)| *why) });
            return Ok(());
        };
        let mut segments = text.split('.');
        self.core(layout, segments.next().unwrap_or_default())?;
        for segment in segments {
            self.sub_section(layout, segment)?;
        }
        self.read.push(layout.name);
        Ok(())
    }

    fn core(&mut self, layout: &Layout, text: &str) -> Result<(), &'static str> {
        let mut bits = Bits::of(text)?;
        let members = layout.members(bits.int(6)?, text.len() * CHAR_BITS)?;
        for (member, count) in members {
            let mut says_no = false;
            for _ in 0..*count {
                match bits.int(2)? {
                    0 | 2 => {}
                    1 => says_no = true,
                    _ => return Err("a member of `gpp` has a value that is not defined"),
                }
            }
            if says_no {
                self.note(layout.name, *member);
            }
        }
        bits.end()
    }

    fn sub_section(&mut self, layout: &Layout, text: &str) -> Result<(), &'static str> {
        let mut bits = Bits::of(text)?;
        if !layout.has_gpc || bits.int(2)? != GPC_SEGMENT {
            self.unread.push(GppUnread { part: layout.name.to_owned(), why: "one of its sub-sections is not known" });
            return Ok(());
        }
        if bits.int(1)? == 1 {
            self.stop(StopKind::OptOutGpc, format!("{}.Gpc", layout.name));
        }
        bits.end()
    }

    /// Four characters: version, notice, opt-out of sale, covered by an agreement.
    fn us_privacy(&mut self, text: &str) -> Result<(), &'static str> {
        let [b'1', rest @ ..] = text.as_bytes() else { return Err("the section `uspv1` of `gpp` is no US Privacy string") };
        let [notice, opt_out, agreement] = rest else { return Err("the section `uspv1` of `gpp` is no US Privacy string") };
        if ![notice, opt_out, agreement].iter().all(|flag| matches!(flag.to_ascii_uppercase(), b'Y' | b'N' | b'-')) {
            return Err("the section `uspv1` of `gpp` is no US Privacy string");
        }
        if opt_out.eq_ignore_ascii_case(&b'Y') {
            self.stop(StopKind::OptOutSale, "uspv1.OptOutSale".to_owned());
        }
        self.read.push("uspv1");
        Ok(())
    }

    fn note(&mut self, section: &str, member: Member) {
        let what = format!("{section}.{}", member.name());
        match member {
            Member::Sale | Member::Sharing | Member::Advertising => self.stop(StopKind::OptOutSale, what),
            Member::Sensitive => self.stop(StopKind::OptOutSensitive, what),
            Member::Child | Member::Personal => {
                self.unread.push(GppUnread { part: what, why: "that there is no consent is no statement about a purpose; record a refusal for it" });
            }
            Member::Other => {}
        }
    }

    fn stop(&mut self, kind: StopKind, ground: String) {
        self.stops.entry(kind).or_default().push(ground);
    }
}

/// The ids of the sections that follow, as many as there are.
fn header(text: &str, sections: usize) -> Result<Vec<u32>, &'static str> {
    const NO_HEADER: &str = "`gpp` does not begin with a header of version 1 of the Global Privacy Platform";
    let mut bits = Bits::of(text)?;
    if (bits.int(6)?, bits.int(6)?) != (3, 1) {
        return Err(NO_HEADER);
    }
    let mut ids: Vec<u32> = Vec::new();
    let mut last = 0_u32;
    for _ in 0..bits.int(12)? {
        let is_range = bits.int(1)? == 1;
        let first = last + bits.fibonacci()?;
        last = if is_range { first + bits.fibonacci()? } else { first };
        for id in first..=last {
            // INVARIANT: no more ids than sections, however long a range claims to be.
            if ids.len() == sections {
                return Err("the header of `gpp` names more sections than follow");
            }
            ids.push(id);
        }
    }
    bits.end()?;
    if ids.len() == sections { Ok(ids) } else { Err("the header of `gpp` names fewer sections than follow") }
}

/// Characters as bits, from left to right.
struct Bits {
    bits: Vec<bool>,
    at: usize,
}

impl Bits {
    fn of(text: &str) -> Result<Self, &'static str> {
        let mut bits = Vec::with_capacity(text.len() * CHAR_BITS);
        for byte in text.bytes() {
            let value = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'-' | b'+' => 62,
                b'_' | b'/' => 63,
                _ => return Err("`gpp` holds a character that no such string has"),
            };
            bits.extend((0..CHAR_BITS).rev().map(|at| value >> at & 1 == 1));
        }
        Ok(Self { bits, at: 0 })
    }

    fn bit(&mut self) -> Result<bool, &'static str> {
        let bit = self.bits.get(self.at).copied().ok_or("`gpp` ends within a section; it may be cut")?;
        self.at += 1;
        Ok(bit)
    }

    fn int(&mut self, length: u32) -> Result<u32, &'static str> {
        let mut value = 0;
        for _ in 0..length {
            value = value << 1 | u32::from(self.bit()?);
        }
        Ok(value)
    }

    /// Each bit stands for a Fibonacci number (1, 2, 3, 5, …); two ones in a row are the end.
    fn fibonacci(&mut self) -> Result<u32, &'static str> {
        let (mut value, mut this, mut next, mut before) = (0, 1, 2, false);
        while value <= SECTION_ID_MAX && this <= SECTION_ID_MAX {
            let bit = self.bit()?;
            if bit && before {
                return Ok(value);
            }
            if bit {
                value += this;
            }
            (this, next, before) = (next, this + next, bit);
        }
        Err("the header of `gpp` names a section that cannot be")
    }

    /// What fills the last characters says nothing; anything else there would be unread.
    fn end(&self) -> Result<(), &'static str> {
        let rest = self.bits.get(self.at..).unwrap_or_default();
        if rest.iter().any(|bit| *bit) { Err("a section of `gpp` is longer than it can be") } else { Ok(()) }
    }
}

/// A member of a section, or several alike.
#[derive(Clone, Copy)]
enum Member {
    Sale,
    Sharing,
    Advertising,
    Sensitive,
    Child,
    Personal,
    /// Notices that were given and how the sender works.
    Other,
}

impl Member {
    const fn name(self) -> &'static str {
        match self {
            Self::Sale => "SaleOptOut",
            Self::Sharing => "SharingOptOut",
            Self::Advertising => "TargetedAdvertisingOptOut",
            Self::Sensitive => "SensitiveDataProcessing",
            Self::Child => "KnownChildSensitiveDataConsents",
            Self::Personal => "PersonalDataConsents",
            Self::Other => "",
        }
    }
}

/// The members of a core, behind its version, each with how many there are.
type Members = &'static [(Member, u32)];

struct Layout {
    id: u32,
    name: &'static str,
    members: Members,
    has_gpc: bool,
}

impl Layout {
    /// The second version of `usnat` has more members, and so have strings that call themselves the first since.
    fn members(&self, version: u32, bits: usize) -> Result<Members, &'static str> {
        match (self.id, version) {
            (USNAT, 1) if bits < USNAT_LONG_BITS => Ok(self.members),
            (USNAT, 1 | 2) => Ok(USNAT_LONG),
            (_, 1) => Ok(self.members),
            _ => Err("a section of `gpp` has a version that is not known"),
        }
    }
}

const USNAT: u32 = 7;
const USPV1: u32 = 6;
const GPC_SEGMENT: u32 = 1;
const USNAT_LONG: Members = &[
    (Member::Other, 6),
    (Member::Sale, 1),
    (Member::Sharing, 1),
    (Member::Advertising, 1),
    (Member::Sensitive, 16),
    (Member::Child, 3),
    (Member::Personal, 1),
    (Member::Other, 3),
];
const USNAT_LONG_BITS: usize = 70;
const LAYOUTS: [Layout; 6] = [
    Layout {
        id: USNAT,
        name: "usnat",
        members: &[
            (Member::Other, 6),
            (Member::Sale, 1),
            (Member::Sharing, 1),
            (Member::Advertising, 1),
            (Member::Sensitive, 12),
            (Member::Child, 2),
            (Member::Personal, 1),
            (Member::Other, 3),
        ],
        has_gpc: true,
    },
    Layout {
        id: 8,
        name: "usca",
        members: &[
            (Member::Other, 3),
            (Member::Sale, 1),
            (Member::Sharing, 1),
            (Member::Sensitive, 9),
            (Member::Child, 2),
            (Member::Personal, 1),
            (Member::Other, 3),
        ],
        has_gpc: true,
    },
    Layout {
        id: 9,
        name: "usva",
        members: &[(Member::Other, 3), (Member::Sale, 1), (Member::Advertising, 1), (Member::Sensitive, 8), (Member::Child, 1), (Member::Other, 3)],
        has_gpc: false,
    },
    Layout {
        id: 10,
        name: "usco",
        members: &[(Member::Other, 3), (Member::Sale, 1), (Member::Advertising, 1), (Member::Sensitive, 7), (Member::Child, 1), (Member::Other, 3)],
        has_gpc: true,
    },
    Layout {
        id: 11,
        name: "usut",
        members: &[(Member::Other, 4), (Member::Sale, 1), (Member::Advertising, 1), (Member::Sensitive, 8), (Member::Child, 1), (Member::Other, 3)],
        has_gpc: false,
    },
    Layout {
        id: 12,
        name: "usct",
        members: &[(Member::Other, 3), (Member::Sale, 1), (Member::Advertising, 1), (Member::Sensitive, 8), (Member::Child, 3), (Member::Other, 3)],
        has_gpc: true,
    },
];
const VENDORS: &str = "it holds consent by vendors of a list, which names no purpose, category or recipient of this catalogue";
const UNREAD: &str = "this version does not read the section";
/// Sections that are known and not read.
const NAMES: [(u32, &str, &str); 18] = [
    (1, "tcfeuv1", VENDORS),
    (2, "tcfeuv2", VENDORS),
    (5, "tcfcav1", VENDORS),
    (13, "usfl", UNREAD),
    (14, "usmt", UNREAD),
    (15, "usor", UNREAD),
    (16, "ustx", UNREAD),
    (17, "usde", UNREAD),
    (18, "usia", UNREAD),
    (19, "usne", UNREAD),
    (20, "usnh", UNREAD),
    (21, "usnj", UNREAD),
    (22, "ustn", UNREAD),
    (23, "usmn", UNREAD),
    (24, "usmd", UNREAD),
    (25, "usin", UNREAD),
    (26, "usky", UNREAD),
    (27, "usri", UNREAD),
];
const CHAR_BITS: usize = 6;
/// Of a whole string; those with vendor lists are the longest.
const GPP_BYTES_MAX: usize = 16 * 1024;
const PROOF_BYTES_MAX: usize = 200;
/// No section has a number near to it.
const SECTION_ID_MAX: u32 = 10_000;

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use proptest::prelude::*;

    use super::*;

    fn kinds(text: &str) -> Result<Vec<&'static str>, &'static str> {
        Ok(GppOptOuts::read(text)?.stops.keys().map(|kind| kind.as_str()).collect())
    }

    fn unread(text: &str) -> Vec<String> {
        GppOptOuts::read(text).unwrap().unread.into_iter().map(|part| part.part).collect()
    }

    const SALE: &str = "opt-out-sale";
    const SENSITIVE: &str = "opt-out-sensitive";
    const GPC: &str = "opt-out-gpc";

    #[test]
    fn headers_are_those_of_the_specification() {
        for (header, sections, ids) in [
            ("DBABM", 1, vec![2]),
            ("DBABMA", 1, vec![2]),
            ("DBACNY", 2, vec![2, 6]),
            ("DBACNYA", 2, vec![2, 6]),
            ("DBABjw", 2, vec![5, 6]),
            ("DBABTA", 1, vec![6]),
            ("DBABLA", 1, vec![7]),
            ("DBABBg", 1, vec![8]),
            ("DBAA", 0, vec![]),
            // A single one and a range.
            ("DBACOYs", 20, std::iter::once(2).chain(5..=23).collect()),
        ] {
            assert_eq!(super::header(header, sections), Ok(ids), "{header}");
            assert!(super::header(header, sections + 1).is_err(), "{header}");
            assert!(sections == 0 || super::header(header, sections - 1).is_err(), "{header}");
        }
    }

    #[test]
    fn strings_of_the_iabs_own_encoder_are_read() {
        for (text, expected) in [
            // Defaults: nothing applies.
            ("DBABLA~BAAAAAAAAABA.QA", vec![]),
            ("DBABBg~BAAAAABA.QA", vec![]),
            ("DBABBg~BAAAAACA", vec![]),
            // Every member is 1, or 1, 2, 0 in turn.
            ("DBABLA~BVVVkkkkkpFY.YA", vec![SALE, SENSITIVE, GPC]),
            ("DBABLA~BVVVkkkkkpFY", vec![SALE, SENSITIVE]),
            ("DBABBg~BVWSSSVY.YA", vec![SALE, SENSITIVE, GPC]),
            ("DBABBg~BVWSSSVY", vec![SALE, SENSITIVE]),
            ("DBABRg~BVWSSVY", vec![SALE, SENSITIVE]),
            ("DBABJg~BVWSSVg.YA", vec![SALE, SENSITIVE, GPC]),
            ("DBABFg~BVVkklWA", vec![SALE, SENSITIVE]),
            ("DBABVg~BVWSSZFg.YA", vec![SALE, SENSITIVE, GPC]),
            // Version 1 of `usnat` with its twelve kinds of sensitive data: opted out of nothing but notices given.
            ("DBABLA~BVQqAAAACg", vec![]),
            ("DBABLA~BVQqAAAAAgA.QA", vec![]),
            ("DBABTA~1YNN", vec![]),
            ("DBABTA~1YYN", vec![SALE]),
            ("DBABTA~1---", vec![]),
            ("DBABM~CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYgAAAAAAAA", vec![]),
            ("DBACNY~CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYgAAAAAAAA~1YYN", vec![SALE]),
        ] {
            assert_eq!(kinds(text), Ok(expected), "{text}");
        }
        let every = "DBACOYs~CPSG_8APSG_8AAAAAAENAACAAAAAAAAAAAAAAAAAAAAA.QAAA.IAAA~BPSG_8APSG_8AAAAAAENAACAAAAAAAAAAAAAAAAAAA.YAAAAAAAAAA~1---~\
                     BAAAAAAAAABA.QA~BAAAAABA.QA~BAAAABA~BAAAAEA.QA~BAAAAAQA~BAAAAAEA.QA~BAAAAABA~BAAAAABA.QA~BAAAAAABAA.QA~BAAAAAQA.QA~\
                     BAAAAAABAA.QA~BAAAAAQA.QA~BAAAAAQA.QA~BAAAAABA.QA~BAAAAAAAQA.QA~BAAAAAQA.QA~BAAAAAQA.QA";
        let every = GppOptOuts::read(every).unwrap();
        assert_eq!(every.read, ["uspv1", "usnat", "usca", "usva", "usco", "usut", "usct"]);
        assert_eq!((every.stops.len(), every.unread.len()), (0, 13));
        assert_eq!((every.unread[0].part.as_str(), every.unread[0].why), ("tcfeuv2", VENDORS));
    }

    /// A section of `count` members of two bits with one of them at 1.
    fn core(version: u8, count: usize, one: usize) -> String {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut bits: Vec<u8> = (0..6).rev().map(|at| version >> at & 1).collect();
        bits.extend((0..count).flat_map(|at| [0, u8::from(at == one)]));
        bits.resize(bits.len().next_multiple_of(6), 0);
        bits.chunks(6).map(|six| char::from(ALPHABET[six.iter().fold(0_usize, |value, bit| value << 1 | usize::from(*bit))])).collect()
    }

    #[test]
    fn each_member_closes_what_it_names_and_nothing_else() {
        /// Header, version, members, the places of sale and sharing, of sensitive data, of consents that name no purpose.
        type Section = (&'static str, u8, usize, &'static [usize], Range<usize>, Range<usize>);
        let sections: [Section; 7] = [
            ("DBABLA", 1, 27, &[6, 7, 8], 9..21, 21..24),
            ("DBABLA", 2, 32, &[6, 7, 8], 9..25, 25..29),
            ("DBABBg", 1, 20, &[3, 4], 5..14, 14..17),
            ("DBABRg", 1, 17, &[3, 4], 5..13, 13..14),
            ("DBABJg", 1, 16, &[3, 4], 5..12, 12..13),
            ("DBABFg", 1, 18, &[4, 5], 6..14, 14..15),
            ("DBABVg", 1, 19, &[3, 4], 5..13, 13..16),
        ];
        for (header, version, count, sale, sensitive, silent) in sections {
            for one in 0..=count {
                let text = format!("{header}~{}", core(version, count, one));
                let expected = match one {
                    one if sale.contains(&one) => vec![SALE],
                    one if sensitive.contains(&one) => vec![SENSITIVE],
                    _ => vec![],
                };
                assert_eq!(kinds(&text), Ok(expected), "{text}, member {one}");
                assert_eq!(unread(&text).len(), usize::from(silent.contains(&one)), "{text}, member {one}");
            }
        }
        let grounds = GppOptOuts::read("DBABBg~BVWSSSVY.YA").unwrap().stops;
        assert_eq!(grounds[&StopKind::OptOutSale], ["usca.SaleOptOut", "usca.SharingOptOut"]);
        assert_eq!(grounds[&StopKind::OptOutGpc], ["usca.Gpc"]);
    }

    #[test]
    fn what_is_no_such_string_or_damaged_is_refused() {
        for (text, message) in [
            ("", "ends within"),
            ("DBA", "ends within"),
            ("CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYgAAAAAAAA", "header"),
            ("DCABLA~BAAAAAAAAABA.QA", "header"),
            ("DBABLA", "more sections"),
            ("DBAA~BAAAAAAAAABA.QA", "fewer sections"),
            ("DBABLA~BAAAAAAAAABA.QA~1YYN", "fewer sections"),
            ("DBABLB~BAAAAAAAAABA", "longer than"),
            ("DBABLA~", "ends within"),
            ("DBABLA~BAAAAAAAA", "ends within"),
            ("DBABLA~CAAAAAAAAA", "ends within"),
            ("DBABLA~DAAAAAAAAABA", "version"),
            ("DBABBg~CAAAAABA", "version"),
            ("DBABBg~BAAAAABB", "longer than"),
            ("DBABBg~BDAAAABA", "not defined"),
            ("DBABBg~BAAAA BA", "character"),
            ("DBABBg~BAAAAABA.", "ends within"),
            ("DBABBg~BAAAAABA.QB", "longer than"),
            ("DBABTA~2YYN", "US Privacy"),
            ("DBABTA~1YY", "US Privacy"),
            ("DBABTA~1YXN", "US Privacy"),
            ("DBABAAAAAAAAA~x", "cannot be"),
            ("DBP______~x", "more sections"),
        ] {
            let refused = kinds(text).expect_err(text);
            assert!(refused.contains(message), "{text}: {refused}");
        }
        assert!(kinds(&"D".repeat(GPP_BYTES_MAX + 1)).is_err());
        assert_eq!(unread("DBABBg~BAAAAABA.IA"), ["usca"], "a sub-section of another type");
        assert_eq!(unread("DBABRg~BAAAABA.YA"), ["usva"], "a sub-section where there is none");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,200}") {
            drop(GppOptOuts::read(&text));
        }

        #[test]
        fn nothing_behind_a_good_header_panics(header in "DBA[A-Za-z0-9_-]{1,12}", rest in "[A-Za-z0-9_.~-]{0,120}") {
            drop(GppOptOuts::read(&format!("{header}~{rest}")));
        }

        #[test]
        fn a_section_is_read_whole_or_refused(bits in "[A-Za-z0-9_-]{8}") {
            // Whatever it says, sale and sensitive data are all that a core can close.
            if let Ok(found) = kinds(&format!("DBABBg~{bits}")) {
                prop_assert!(found.iter().all(|kind| [SALE, SENSITIVE].contains(kind)));
            }
        }
    }
}
