//! The PROXY protocol, versions 1 and 2: a balancer in front of the listener says for whom it connects. Only where it is configured, and
//! there it is required. What it says is where a connection comes from: for counting, and never for what anybody may.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest line of version 1, with its CRLF: from the specification.
const LINE_BYTES_MAX: usize = 107;
/// What may stand behind the fixed part of version 2: addresses and TLVs, bytes.
const REST_BYTES_MAX: usize = 2_048;
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// TLV: CRC32c of the whole header, computed with these four bytes as zero.
const CRC32C: u8 = 0x03;

/// Networks from which connections are passed on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Balancers(pub Vec<(IpAddr, u8)>);

impl Balancers {
    pub(super) fn contains(&self, peer: IpAddr) -> bool {
        self.0.iter().any(|(network, bits)| match (network, peer.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(peer)) => {
                let shift = 32_u32.saturating_sub(u32::from(*bits));
                network.to_bits().checked_shr(shift).unwrap_or_default() == peer.to_bits().checked_shr(shift).unwrap_or_default()
            }
            (IpAddr::V6(network), IpAddr::V6(peer)) => {
                let shift = 128_u32.saturating_sub(u32::from(*bits));
                network.to_bits().checked_shr(shift).unwrap_or_default() == peer.to_bits().checked_shr(shift).unwrap_or_default()
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        })
    }
}

/// Why no client is known from a header.
#[derive(Debug, thiserror::Error)]
pub(super) enum HeaderError {
    #[error("the header does not come whole: {0}")]
    Read(#[from] std::io::Error),
    #[error("this is no PROXY header that is taken here")]
    Malformed,
}

/// Reads a header and nothing behind it. `None`: the balancer speaks for itself, as it does to see whether anybody is there.
///
/// # Errors
/// Without a header, or with one that says nothing about a TCP connection; then the connection is to be closed.
pub(super) async fn client_of(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<SocketAddr>, HeaderError> {
    let mut start = [0; SIGNATURE.len()];
    stream.read_exact(&mut start).await?;
    if start == SIGNATURE { version_2(stream).await } else { version_1(stream, &start).await }
}

/// `PROXY TCP4 192.0.2.1 198.51.100.7 56324 443`
async fn version_1(stream: &mut (impl AsyncRead + Unpin), start: &[u8]) -> Result<Option<SocketAddr>, HeaderError> {
    if !start.starts_with(b"PROXY ") {
        return Err(HeaderError::Malformed);
    }
    let mut line = start.to_vec();
    // Byte by byte: what comes behind it is TLS.
    while !line.ends_with(b"\r\n") {
        if line.len() >= LINE_BYTES_MAX {
            return Err(HeaderError::Malformed);
        }
        line.push(stream.read_u8().await?);
    }
    let text = std::str::from_utf8(&line).ok().and_then(|line| line.strip_suffix("\r\n")).ok_or(HeaderError::Malformed)?;
    let words: Vec<&str> = text.split(' ').collect();
    match words.as_slice() {
        ["PROXY", "UNKNOWN", ..] => Ok(None),
        ["PROXY", family @ ("TCP4" | "TCP6"), from, to, from_port, to_port] => {
            let (from, to): (IpAddr, IpAddr) = from.parse().ok().zip(to.parse().ok()).ok_or(HeaderError::Malformed)?;
            let (from_port, _) = port(from_port).zip(port(to_port)).ok_or(HeaderError::Malformed)?;
            let is_v4 = *family == "TCP4";
            if from.is_ipv4() == is_v4 && to.is_ipv4() == is_v4 { Ok(Some(SocketAddr::new(from, from_port))) } else { Err(HeaderError::Malformed) }
        }
        _ => Err(HeaderError::Malformed),
    }
}

/// Digits alone: `parse` would take a sign.
fn port(text: &str) -> Option<u16> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

async fn version_2(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<SocketAddr>, HeaderError> {
    let mut fixed = [0; 4];
    stream.read_exact(&mut fixed).await?;
    let [version_command, family, high, low] = fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > REST_BYTES_MAX {
        return Err(HeaderError::Malformed);
    }
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).await?;
    let (client, tlvs) = match (version_command, family) {
        // LOCAL: whatever addresses are told, they are not to be looked at.
        (0x20, _) => return Ok(None),
        (0x21, 0x11) => {
            let (addresses, tlvs) = rest.split_first_chunk::<12>().ok_or(HeaderError::Malformed)?;
            let [a, b, c, d, _, _, _, _, high, low, _, _] = *addresses;
            (SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), u16::from_be_bytes([high, low])), tlvs)
        }
        (0x21, 0x21) => {
            let (from, behind) = rest.split_first_chunk::<16>().ok_or(HeaderError::Malformed)?;
            let (_, behind) = behind.split_first_chunk::<16>().ok_or(HeaderError::Malformed)?;
            let ([high, low, _, _], tlvs) = behind.split_first_chunk::<4>().ok_or(HeaderError::Malformed)?;
            (SocketAddr::new(Ipv6Addr::from(*from).into(), u16::from_be_bytes([*high, *low])), tlvs)
        }
        // UNIX sockets, datagrams and what is not specified name nobody who could be counted.
        _ => return Err(HeaderError::Malformed),
    };
    check_tlvs(&fixed, &rest, tlvs)?;
    Ok(Some(client))
}

/// They must fill their place; and a checksum must be right.
fn check_tlvs(fixed: &[u8], rest: &[u8], mut tlvs: &[u8]) -> Result<(), HeaderError> {
    let mut told = None;
    while let Some(([kind, high, low], behind)) = tlvs.split_first_chunk::<3>() {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (value, next) = behind.split_at_checked(length).ok_or(HeaderError::Malformed)?;
        if *kind == CRC32C {
            let sum = <[u8; 4]>::try_from(value).ok().filter(|_| told.is_none()).ok_or(HeaderError::Malformed)?;
            let at = rest.len().saturating_sub(next.len()).saturating_sub(length);
            told = Some((u32::from_be_bytes(sum), at));
        }
        tlvs = next;
    }
    if !tlvs.is_empty() {
        return Err(HeaderError::Malformed);
    }
    let Some((sum, at)) = told else { return Ok(()) };
    let (before, behind) = rest.split_at_checked(at).ok_or(HeaderError::Malformed)?;
    let after = behind.get(4..).ok_or(HeaderError::Malformed)?;
    let pieces: [&[u8]; 5] = [&SIGNATURE, fixed, before, &[0; 4], after];
    let real = pieces.iter().fold(0, |sum, piece| crc32c::crc32c_append(sum, piece));
    if real == sum { Ok(()) } else { Err(HeaderError::Malformed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read of the bytes, and what is left behind them.
    async fn read(bytes: &[u8]) -> (Result<Option<String>, ()>, usize) {
        let mut rest = bytes;
        let found = client_of(&mut rest).await.map(|client| client.map(|client| client.to_string())).map_err(|_error| ());
        (found, rest.len())
    }

    fn version_2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        [&SIGNATURE[..], &[command, family], &u16::try_from(rest.len()).unwrap().to_be_bytes(), rest].concat()
    }

    const V4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 7, 0xdc, 4, 1, 0xbb];

    fn checked(change: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
        let mut header = version_2(0x21, 0x11, &[&V4[..], &[4, 0, 2, 9, 9, CRC32C, 0, 4, 0, 0, 0, 0, 2, 0, 1, b'a']].concat());
        let sum = crc32c::crc32c(&header).to_be_bytes();
        header[16 + 12 + 5 + 3..16 + 12 + 5 + 7].copy_from_slice(&sum);
        change(&mut header);
        header
    }

    #[tokio::test]
    async fn the_client_is_read_and_nothing_behind_it() {
        let v6 = [&Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).octets()[..], &[0; 16], &[0xdc, 4, 1, 0xbb]].concat();
        for (header, client) in [
            (b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n".to_vec(), Some("192.0.2.1:56324")),
            (b"PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n".to_vec(), Some("[2001:db8::1]:56324")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), None),
            (version_2(0x21, 0x11, &V4), Some("192.0.2.1:56324")),
            (version_2(0x21, 0x21, &v6), Some("[2001:db8::1]:56324")),
            (version_2(0x20, 0x00, &[]), None),
            (version_2(0x20, 0x11, &V4), None),
            (checked(|_| ()), Some("192.0.2.1:56324")),
        ] {
            let bytes = [&header[..], b"\x16\x03\x01"].concat();
            assert_eq!((Ok(client.map(str::to_owned)), 3), read(&bytes).await, "{}", header.escape_ascii());
        }
    }

    #[tokio::test]
    async fn what_is_no_header_of_a_tcp_connection_is_refused() {
        for bytes in [
            b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\0".to_vec(),
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 198.51.100.7 56324\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 198.51.100.7 +56324 443\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1  198.51.100.7 56324 443\r\n".to_vec(),
            b"PROXY TCP4 2001:db8::1 2001:db8::2 56324 443\r\n".to_vec(),
            b"PROXY TCP6 192.0.2.1 198.51.100.7 56324 443\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\n".to_vec(),
            [b"PROXY UNKNOWN ".to_vec(), vec![b'a'; LINE_BYTES_MAX]].concat(),
            version_2(0x21, 0x31, &[0; 216]),
            version_2(0x21, 0x12, &V4),
            version_2(0x21, 0x00, &V4),
            version_2(0x11, 0x11, &V4),
            version_2(0x22, 0x11, &V4),
            version_2(0x21, 0x11, &V4[..11]),
            version_2(0x21, 0x21, &[0; 35]),
            version_2(0x21, 0x11, &[&V4[..], &[4, 0, 9, 1]].concat()),
            version_2(0x21, 0x11, &[&V4[..], &[4, 0]].concat()),
            version_2(0x21, 0x11, &[0; REST_BYTES_MAX + 1]),
            version_2(0x21, 0x11, &V4)[..20].to_vec(),
            checked(|header| header[16] ^= 1),
            checked(|header| *header.last_mut().unwrap() ^= 1),
        ] {
            assert_eq!(Err(()), read(&bytes).await.0, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn balancers_are_whole_networks() {
        let balancers = Balancers(vec![("10.1.0.0".parse().unwrap(), 16), ("2001:db8::".parse().unwrap(), 32), ("192.0.2.7".parse().unwrap(), 32)]);
        for (peer, is_one) in [
            ("10.1.255.9", true),
            ("10.2.0.1", false),
            ("::ffff:10.1.2.3", true),
            ("2001:db8:ffff::1", true),
            ("2001:db9::1", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
        ] {
            assert_eq!(is_one, balancers.contains(peer.parse().unwrap()), "{peer}");
        }
        assert!(Balancers(vec![("0.0.0.0".parse().unwrap(), 0)]).contains("203.0.113.1".parse().unwrap()));
    }
}
